//! Changes of volumes: ask, wait for the operation's end, say what came of it.

use serde::Deserialize;
use sutler_api::operation::{OperationState, OperationView};
use sutler_api::volume::{
    Accepted, AccessType, AdoptVolumeRequest, CreateVolumeRequest, GrowVolumeRequest, VolumeState,
    VolumeView,
};
use sutler_ids::VolumeName;

use super::Outcome;
use super::operation::kind_text;
use super::plugin_ready::{self, Asked};
use super::volume::{AdoptArgs, CreateArgs, GrowArgs, RmArgs};
use crate::client::{Answer, CallError};
use crate::context::{Context, pretty};
use crate::failure::{ExitStatus, Failure, Report};
use crate::progress::Status;
use crate::show::human::left;
use crate::wait::{HOLD, Judged, WaitArgs, Waiting, until};

/// How an operation ended, as far as the master still knows.
enum Ended {
    /// It is in the books.
    Known(Box<Answer<OperationView>>),
    /// The volume is gone, and the operation with it.
    Gone,
}

/// What a change of the books alone answers: the operation, or only the volume.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Changed {
    Accepted(Accepted),
    Volume(VolumeView),
}

/// Makes a volume.
pub(super) async fn create(args: CreateArgs, context: &mut Context) -> Outcome {
    let request = CreateVolumeRequest {
        name: args.name,
        class: args.class,
        size: args.size,
        access: if args.block {
            AccessType::Block
        } else {
            AccessType::Mount
        },
        fs_type: args.fs_type,
        agent: args.agent,
    };
    let asked = Asked {
        path: "/v1/volumes",
        body: &request,
        classes: vec![request.class.as_ref()],
        node: request.agent.as_ref(),
        patience: (!args.wait.no_wait).then_some(args.wait.timeout),
    };
    let accepted: Answer<Accepted> = plugin_ready::post(context, asked).await?;
    if args.wait.no_wait {
        return show_accepted(context, &accepted);
    }
    ended_well(context, &accepted.value, &args.wait).await?;
    let volume = show_name(context, &request.name).await?;
    context.io.note(&format!(
        "volume {} is ready: {} of class {} on node {}",
        volume.name, volume.capacity, volume.class, volume.agent
    ));
    Ok(ExitStatus::OK)
}

/// Makes a volume larger.
pub(super) async fn grow(args: GrowArgs, context: &mut Context) -> Outcome {
    let path = format!("/v1/volumes/{}/grow", args.name);
    let request = GrowVolumeRequest { size: args.size };
    let accepted = context.client.post::<Accepted>(&path, &request).await?;
    if args.wait.no_wait {
        return show_accepted(context, &accepted);
    }
    ended_well(context, &accepted.value, &args.wait).await?;
    let volume = show_name(context, &args.name).await?;
    context.io.note(&format!(
        "volume {} has {} now",
        volume.name, volume.capacity
    ));
    if let Some(problem) = &volume.problem {
        context.io.note(&format!(
            "but not all of it can be used yet: {}; what is next: sutler volume why {}",
            problem.what, volume.name
        ));
    }
    Ok(ExitStatus::OK)
}

/// Removes a volume: to the trash, or for good.
pub(super) async fn remove(args: RmArgs, context: &mut Context) -> Outcome {
    if args.forget {
        return forget(args, context).await;
    }
    let query = if args.purge { "?purge=true" } else { "" };
    let path = format!("/v1/volumes/{}{query}", args.name);
    let accepted = context.client.delete::<Accepted>(&path).await?;
    let volume = &accepted.value.volume;
    if volume.state == VolumeState::Trashed && !args.purge {
        let name = volume.name.clone();
        context.show(&accepted, |accepted, _| {
            format!("{}\n", accepted.volume.name)
        })?;
        let kept = volume.trash_until.map(|end| left(end, (context.now)()));
        let kept = kept.map(|left| format!(" for {left}")).unwrap_or_default();
        context.io.note(&format!(
            "volume {name} is in the trash{kept}; take it back with: sutler volume restore {name}"
        ));
        return Ok(ExitStatus::OK);
    }
    if args.wait.no_wait {
        return show_accepted(context, &accepted);
    }
    match ended_well(context, &accepted.value, &args.wait).await? {
        Ended::Known(operation) if context.json => context.io.line(&pretty(&operation.raw))?,
        Ended::Gone if context.json => context.io.line(&pretty(&accepted.raw))?,
        Ended::Known(_) | Ended::Gone => context.io.line(args.name.as_str())?,
    }
    context.io.note(&format!("volume {} is gone", args.name));
    Ok(ExitStatus::OK)
}

/// Has a volume forgotten: at the second word, since nobody takes that back.
async fn forget(args: RmArgs, context: &mut Context) -> Outcome {
    let name = &args.name;
    let path = format!("/v1/volumes/{name}");
    if !args.yes {
        let volume = context.client.get::<VolumeView>(&path).await?.value;
        let what = format!("{}; nothing is deleted there", what_stays(&volume));
        let mut report = Report::new(format!("forgetting volume {name} cannot be taken back"));
        report.causes.push(what);
        report.hint = Some(format!("sutler volume rm {name} --forget --yes"));
        return Err(report.into());
    }
    let path = format!("{path}?forget=true");
    let accepted = context.client.delete::<Accepted>(&path).await?;
    if args.wait.no_wait {
        return show_accepted(context, &accepted);
    }
    match ended_well(context, &accepted.value, &args.wait).await? {
        Ended::Known(operation) if context.json => context.io.line(&pretty(&operation.raw))?,
        Ended::Gone if context.json => context.io.line(&pretty(&accepted.raw))?,
        Ended::Known(_) | Ended::Gone => context.io.line(name.as_str())?,
    }
    let stays = what_stays(&accepted.value.volume);
    context
        .io
        .note(&format!("volume {name} is forgotten; {stays}"));
    Ok(ExitStatus::OK)
}

/// Says what may be left of a forgotten volume, and where.
pub(super) fn what_stays(volume: &VolumeView) -> String {
    let (plugin, node) = (&volume.plugin, &volume.agent);
    match &volume.csi_volume_id {
        Some(id) => format!("plugin {plugin} on node {node} may still have it as {id}"),
        None => format!(
            "plugin {plugin} on node {node} may have made it, under the name {}",
            volume.volume_id.csi_name()
        ),
    }
}

/// Takes a volume out of the trash.
pub(super) async fn restore(name: &VolumeName, context: &mut Context) -> Outcome {
    let answer: Answer<Changed> = context
        .client
        .post_empty(&format!("/v1/volumes/{name}/restore"))
        .await?;
    context.show(&answer, |changed, _| {
        let volume = match changed {
            Changed::Accepted(accepted) => &accepted.volume,
            Changed::Volume(volume) => volume,
        };
        format!("{}\n", volume.name)
    })?;
    context.io.note(&format!("volume {name} is back"));
    Ok(ExitStatus::OK)
}

/// Takes a volume into the books that its node has and they do not.
pub(super) async fn adopt(args: AdoptArgs, context: &mut Context) -> Outcome {
    let request = AdoptVolumeRequest {
        agent: args.agent,
        new_name: args.new_name,
    };
    let path = format!("/v1/volumes/{}/adopt", args.name);
    let answer: Answer<VolumeView> = context.client.post(&path, &request).await?;
    context.show(&answer, |volume, _| format!("{}\n", volume.name))?;
    let (name, node) = (&answer.value.name, &answer.value.agent);
    context
        .io
        .note(&format!("volume {name} of node {node} is in the books"));
    Ok(ExitStatus::OK)
}

/// Prints what was accepted: the operation's UUID, or all as JSON.
fn show_accepted(context: &mut Context, accepted: &Answer<Accepted>) -> Outcome {
    context.show(accepted, |accepted, _| {
        format!("{}\n", accepted.operation_uuid)
    })?;
    let uuid = accepted.value.operation_uuid;
    context.io.note(&format!(
        "accepted; look at it with: sutler operation show {uuid}"
    ));
    Ok(ExitStatus::OK)
}

/// Prints a volume's name, or all of it as JSON.
async fn show_name(context: &mut Context, name: &VolumeName) -> Result<VolumeView, Failure> {
    let answer = context
        .client
        .get::<VolumeView>(&format!("/v1/volumes/{name}"))
        .await?;
    context.show(&answer, |volume, _| format!("{}\n", volume.name))?;
    Ok(answer.value)
}

/// Waits for the operation's end; a failed one is a failure, with its JSON printed if asked.
async fn ended_well(
    context: &mut Context,
    accepted: &Accepted,
    wait: &WaitArgs,
) -> Result<Ended, Failure> {
    let name = &accepted.volume.name;
    let ended = ended(context, accepted, wait).await?;
    if let Ended::Known(operation) = &ended
        && operation.value.state == OperationState::Failed
    {
        let Answer { value, raw } = operation.as_ref();
        if context.json {
            context.io.line(&pretty(raw))?;
        }
        let mut report = match &value.problem {
            Some(problem) => Report::of_problem(problem),
            None => Report::new(format!("could not {} {name}", kind_text(value.kind))),
        };
        let hint = || format!("sutler volume why {name}");
        report.hint = report.hint.take().or_else(|| Some(hint()));
        return Err(report.into());
    }
    Ok(ended)
}

async fn ended(
    context: &mut Context,
    accepted: &Accepted,
    wait: &WaitArgs,
) -> Result<Ended, Failure> {
    let (name, uuid) = (accepted.volume.name.clone(), accepted.operation_uuid);
    let waiting = Waiting {
        what: format!("operation {uuid} on volume {name}"),
        look_again: format!("sutler operation show {uuid}"),
        timeout: wait.timeout,
    };
    let operation_path = format!("/v1/operations/{uuid}");
    let volume_path = format!("/v1/volumes/{name}");
    until(
        context,
        &waiting,
        async |client| match client
            .get_waiting::<OperationView>(&operation_path, HOLD)
            .await
        {
            Ok(answer) => Ok(Ended::Known(Box::new(answer))),
            Err(error) if error.is_not_found() => {
                // A volume that left the books took its operation along.
                match client.get::<VolumeView>(&volume_path).await {
                    Ok(_) => Err(error),
                    Err(CallError::Refused { problem, .. })
                        if problem.kind == sutler_ids::ErrorKind::NotFound =>
                    {
                        Ok(Ended::Gone)
                    }
                    Err(other) => Err(other),
                }
            }
            Err(error) => Err(error),
        },
        |ended| match ended {
            Ended::Known(answer) if answer.value.state == OperationState::Pending => {
                Judged::Going(pending(&answer.value))
            }
            Ended::Known(_) | Ended::Gone => Judged::Settled,
        },
    )
    .await
}

fn pending(operation: &OperationView) -> Status {
    let text = format!("volume {}: {}", operation.volume, kind_text(operation.kind));
    match &operation.problem {
        Some(problem) => Status::new(format!("{text}: {problem}")),
        None => Status::new(text),
    }
}
