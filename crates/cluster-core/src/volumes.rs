//! Volumes: what users may ask of them, and when it is refused.

use sutler_api::agent::{Outcome, ToAgent, VolumeReport};
use sutler_api::volume::{AccessType, CreateVolumeRequest, VolumeSpec, VolumeState};
use sutler_ids::{AgentId, ClassName, OperationUuid, VolumeId, VolumeName};
use sutler_ids::{Bytes, ErrorKind, Problem};
use uuid::Uuid;

use crate::books::{Books, Turn};
use crate::definition::Class;
use crate::places::check_fits;
use crate::record::{
    Change, EndedOperation, OperationAct, OperationRecord, VolumePhase, VolumeRecord,
};
use crate::step::{Reply, Subject};

/// Longest name of a file system: the longest that Linux knows has 15 bytes.
const FS_TYPE_BYTES_MAX: usize = 16;

/// A volume to be made, asked for directly or by a task.
pub(crate) struct NewVolume<'a> {
    pub name: &'a VolumeName,
    pub class: Option<&'a ClassName>,
    pub size: Bytes,
    pub access: AccessType,
    pub fs_type: Option<&'a str>,
}

impl Books {
    pub(crate) fn volume_called(&self, name: &VolumeName) -> Result<&VolumeRecord, Problem> {
        self.volume_by_name(name).ok_or_else(|| {
            if let Some(unknown) = self.unknown_called(name) {
                return self.not_in_the_books(unknown);
            }
            Problem::new(ErrorKind::NotFound, format!("no volume is called {name}"))
                .hint("sutler volume ls")
        })
    }

    pub(crate) fn check_name_free(&self, name: &VolumeName) -> Result<(), Problem> {
        let Some(volume) = self.volume_by_name(name) else {
            let unknown = self.unknown_called(name);
            return unknown.map_or(Ok(()), |unknown| Err(self.not_in_the_books(unknown)));
        };
        let (why, hint) = match &volume.phase {
            VolumePhase::Creating | VolumePhase::Live { .. } => (
                format!("a volume called {name} exists"),
                format!("sutler volume show {name}"),
            ),
            VolumePhase::Trashed { until_ms, .. } => (
                format!(
                    "the name {name} is taken by a volume in the trash until {}",
                    self.shown(*until_ms)
                ),
                format!("sutler volume restore {name}, or: sutler volume rm {name} --purge"),
            ),
            VolumePhase::Deleting { .. } => (
                format!("a volume called {name} is still being deleted"),
                format!("sutler volume why {name}"),
            ),
            VolumePhase::Failed { left_behind, .. } => (
                format!("the name {name} is taken by a volume that could not be created"),
                match left_behind {
                    None => format!("sutler volume rm {name}, then try again"),
                    Some(id) => {
                        format!("delete {id} in the back end: sutler volume rm {name} --purge")
                    }
                },
            ),
        };
        Err(Problem::new(ErrorKind::Conflict, why).hint(hint))
    }

    /// Checks everything about a new volume and gives its record.
    pub(crate) fn draft_volume(
        &self,
        id: Uuid,
        new: &NewVolume<'_>,
        place: impl FnOnce(&Class<'_>) -> Result<AgentId, Problem>,
    ) -> Result<(VolumeSpec, AgentId), Problem> {
        self.check_name_free(new.name)?;
        let size = checked_size(new.name, new.size)?;
        check_fs_type(new)?;
        let class = self.class(new.class)?;
        let parameters = class.parameters()?;
        let agent_id = place(&class)?;
        let fs_type = match new.access {
            AccessType::Mount => new
                .fs_type
                .map(str::to_owned)
                .or_else(|| class.definition.fs_type.clone()),
            AccessType::Block => None,
        };
        let mount_flags = match new.access {
            AccessType::Mount => class.definition.mount_flags.clone(),
            AccessType::Block => Vec::new(),
        };
        let spec = VolumeSpec {
            volume_id: VolumeId::new(id),
            name: new.name.clone(),
            class: class.name.clone(),
            plugin: class.plugin.name.clone(),
            capacity: size,
            access: new.access,
            fs_type,
            mount_flags,
            parameters,
        };
        Ok((spec, agent_id))
    }

    /// Refuses if a task names the volume or its owner still holds it for one.
    pub(crate) fn check_unused(&self, volume: &VolumeRecord) -> Result<(), Problem> {
        let name = &volume.spec.name;
        if let Some(task) = self.holders_of(volume.spec.volume_id).next() {
            let id = &task.spec.task_id;
            return Err(Problem::new(
                ErrorKind::Conflict,
                format!(
                    "volume {name} is in use by task {id} on node {}",
                    self.agent_name(task.agent_id)
                ),
            )
            .hint(format!("sutler task stop {id}, then try again")));
        }
        let report = self.live.volumes.get(&volume.spec.volume_id);
        match report.and_then(|report| report.holders.first()) {
            Some(holder) => Err(Problem::new(
                ErrorKind::Conflict,
                format!(
                    "volume {name} is still held for task {} on node {}",
                    holder.task_id,
                    self.agent_name(volume.agent_id)
                ),
            )
            .hint(format!("sutler volume why {name}"))),
            None => Ok(()),
        }
    }

    fn check_grow(&self, volume: &VolumeRecord, size: Bytes) -> Result<(), Problem> {
        let name = &volume.spec.name;
        let conflict = |what: String| {
            let problem = Problem::new(ErrorKind::Conflict, what);
            Err(problem.hint(format!("sutler volume why {name}")))
        };
        let state = self.volume_state(volume);
        match &volume.phase {
            VolumePhase::Live {
                growing: Some(_), ..
            } => {
                return conflict(format!("volume {name} is being grown already"));
            }
            VolumePhase::Live { growing: None, .. }
                if matches!(state, VolumeState::Ready | VolumeState::InUse) => {}
            VolumePhase::Live { .. }
            | VolumePhase::Creating
            | VolumePhase::Trashed { .. }
            | VolumePhase::Deleting { .. }
            | VolumePhase::Failed { .. } => {
                let word = crate::views::volume_state_word(state);
                return conflict(format!("volume {name} is {word} and cannot be grown now"));
            }
        }
        let present = self.volume_capacity(volume);
        if size < present {
            return Err(Problem::new(
                ErrorKind::Invalid,
                format!(
                    "volume {name} has {present} ({} bytes) and cannot become smaller",
                    present.get()
                ),
            )
            .hint("make a smaller volume and copy the data"));
        }
        let Some(plugin) = self.durable.plugins.get(&volume.spec.plugin) else {
            return Ok(());
        };
        let live = self.live.agents.get(&volume.agent_id);
        let instance = live.and_then(|live| live.plugins.get(&plugin.name));
        let facts = instance.and_then(|(_, instance)| instance.facts.as_ref());
        if let Some(facts) = facts
            && !facts
                .capabilities
                .iter()
                .any(|name| name.contains("EXPAND_VOLUME"))
        {
            return conflict(format!("plugin {} cannot grow volumes", plugin.name));
        }
        let Some((_, instance)) = instance else {
            return Ok(());
        };
        let more = Bytes(size.get() - present.get());
        let agent = self.agent_name(volume.agent_id);
        check_fits(&volume.spec.class, more, instance, &agent)
    }
}

impl Turn<'_> {
    pub(crate) fn create_volume(
        &mut self,
        seed: Uuid,
        request: &CreateVolumeRequest,
    ) -> Result<(), Problem> {
        let new = NewVolume {
            name: &request.name,
            class: request.class.as_ref(),
            size: request.size,
            access: request.access,
            fs_type: request.fs_type.as_deref(),
        };
        let (spec, agent_id) = self.books.draft_volume(seed, &new, |class| {
            self.books
                .place_volume(class, request.size, request.agent.as_ref())
        })?;
        let volume_id = spec.volume_id;
        let operation_uuid = self.accept_volume(spec, agent_id);
        self.reply(Reply::Accepted {
            operation_uuid,
            volume_id,
        });
        Ok(())
    }

    /// Records a new volume with its operation, and tells the owner.
    pub(crate) fn accept_volume(&mut self, spec: VolumeSpec, agent_id: AgentId) -> OperationUuid {
        let record = VolumeRecord {
            agent_id,
            capacity: spec.capacity,
            created_at: self.now.wall,
            since: self.now.wall,
            phase: VolumePhase::Creating,
            spec,
        };
        let uuid = OperationUuid::new(record.spec.volume_id.uuid());
        self.persist(Change::Volume(record.clone()));
        self.accept_operation(uuid, OperationAct::Create, &record);
        uuid
    }

    /// Records an operation and sends it, unless the trash holds it back.
    fn accept_operation(&mut self, uuid: OperationUuid, act: OperationAct, on: &VolumeRecord) {
        let record = OperationRecord {
            operation_uuid: uuid,
            act,
            volume_id: on.spec.volume_id,
            volume: on.spec.name.clone(),
            agent_id: on.agent_id,
            started_at: self.now.wall,
            ended: None,
        };
        self.persist(Change::Operation(record.clone()));
        self.send_operation(&record);
    }

    fn send_operation(&mut self, record: &OperationRecord) {
        if let Some(operation) = self.books.desired_operation(record) {
            self.send(record.agent_id, ToAgent::Operation(operation));
        }
    }

    fn set_phase(&mut self, mut volume: VolumeRecord, phase: VolumePhase) -> VolumeRecord {
        volume.phase = phase;
        volume.since = self.now.wall;
        self.persist(Change::Volume(volume.clone()));
        volume
    }

    pub(crate) fn grow_volume(
        &mut self,
        seed: Uuid,
        name: &VolumeName,
        size: Bytes,
    ) -> Result<(), Problem> {
        let volume = self.books.volume_called(name)?.clone();
        let size = checked_size(name, size)?;
        self.books.check_grow(&volume, size)?;
        let operation_uuid = OperationUuid::new(seed);
        let growing = VolumePhase::Live {
            growing: Some(operation_uuid),
            problem: None,
        };
        let volume = self.set_phase(volume, growing);
        self.accept_operation(
            operation_uuid,
            OperationAct::Grow { capacity: size },
            &volume,
        );
        self.reply(Reply::Accepted {
            operation_uuid,
            volume_id: volume.spec.volume_id,
        });
        Ok(())
    }

    pub(crate) fn remove_volume(
        &mut self,
        seed: Uuid,
        name: &VolumeName,
        purge: bool,
    ) -> Result<(), Problem> {
        let volume = self.books.volume_called(name)?.clone();
        let volume_id = volume.spec.volume_id;
        let fresh = OperationUuid::new(seed);
        let operation_uuid = match &volume.phase {
            VolumePhase::Creating if !purge => return Err(busy(name, "still being created")),
            VolumePhase::Live {
                growing: Some(_), ..
            } if !purge => {
                return Err(busy(name, "being grown"));
            }
            VolumePhase::Creating | VolumePhase::Live { .. } => {
                self.books.check_unused(&volume)?;
                match purge {
                    true => self.begin_deletion(volume, fresh),
                    false => self.put_into_trash(volume, fresh),
                }
            }
            VolumePhase::Trashed { deletion, .. } if purge => {
                let deletion = *deletion;
                self.release_from_trash(volume);
                deletion
            }
            // Asked twice: the answer is the same.
            VolumePhase::Trashed { deletion, .. } | VolumePhase::Deleting { deletion } => *deletion,
            VolumePhase::Failed { left_behind, .. } => {
                // A task that wanted it is about to be told so by its node.
                self.books.check_unused(&volume)?;
                let Some(id) = left_behind else {
                    self.forget_failed(&volume, fresh);
                    return Ok(());
                };
                check_purge_of_left(&volume, id, purge)?;
                self.begin_deletion(volume, fresh)
            }
        };
        self.reply(Reply::Accepted {
            operation_uuid,
            volume_id,
        });
        Ok(())
    }

    fn put_into_trash(&mut self, volume: VolumeRecord, deletion: OperationUuid) -> OperationUuid {
        let observed_ms = self.books.observed_ms(self.now);
        let until_ms = observed_ms.saturating_add(self.books.config.trash_retention_ms);
        let volume = self.set_phase(volume, VolumePhase::Trashed { until_ms, deletion });
        self.accept_operation(deletion, OperationAct::Delete, &volume);
        deletion
    }

    fn begin_deletion(&mut self, volume: VolumeRecord, deletion: OperationUuid) -> OperationUuid {
        self.begin_end(volume, deletion, OperationAct::Delete)
    }

    /// Records that a volume is to end, and tells the owner how.
    pub(crate) fn begin_end(
        &mut self,
        volume: VolumeRecord,
        deletion: OperationUuid,
        act: OperationAct,
    ) -> OperationUuid {
        let volume = self.set_phase(volume, VolumePhase::Deleting { deletion });
        self.accept_operation(deletion, act, &volume);
        deletion
    }

    /// Lets the deletion begin that the trash has held back.
    pub(crate) fn release_from_trash(&mut self, volume: VolumeRecord) {
        let VolumePhase::Trashed { deletion, .. } = volume.phase else {
            return;
        };
        self.set_phase(volume, VolumePhase::Deleting { deletion });
        self.step.changed.insert(Subject::Operation(deletion));
        if let Some(record) = self.books.durable.operations.get(&deletion).cloned() {
            self.send_operation(&record);
        }
    }

    /// Nothing of a failed volume exists, so its deletion is done when it is recorded.
    fn forget_failed(&mut self, volume: &VolumeRecord, operation_uuid: OperationUuid) {
        let view = Box::new(self.books.volume_view(volume));
        self.accept_operation(operation_uuid, OperationAct::Delete, volume);
        self.end_operation(
            operation_uuid,
            EndedOperation {
                outcome: Outcome::Finished,
                at: self.now.wall,
            },
        );
        self.forget_volume(volume);
        self.reply(Reply::Forgotten {
            operation_uuid,
            volume: view,
        });
    }

    pub(crate) fn restore_volume(&mut self, name: &VolumeName) -> Result<(), Problem> {
        let volume = self.books.volume_called(name)?.clone();
        let volume_id = volume.spec.volume_id;
        let VolumePhase::Trashed { deletion, .. } = volume.phase else {
            let word = crate::views::volume_state_word(self.books.volume_state(&volume));
            let what = format!("volume {name} is not in the trash, it is {word}");
            let hint = format!("sutler volume show {name}");
            return Err(Problem::new(ErrorKind::Conflict, what).hint(hint));
        };
        self.set_phase(
            volume,
            VolumePhase::Live {
                growing: None,
                problem: None,
            },
        );
        let problem = Problem::new(ErrorKind::Conflict, format!("volume {name} was restored"));
        let ended = EndedOperation {
            outcome: Outcome::Failed(problem),
            at: self.now.wall,
        };
        self.end_operation(deletion, ended);
        self.reply(Reply::Volume(volume_id));
        Ok(())
    }

    pub(crate) fn on_volume_report(&mut self, agent_id: AgentId, report: VolumeReport) {
        let record = self.books.durable.volumes.get(&report.volume_id);
        if record.is_some_and(|record| record.agent_id == agent_id) {
            // Told again, as all are when a stream comes up: no news to anyone.
            if self.books.live.volumes.get(&report.volume_id) == Some(&report) {
                return;
            }
            self.step.changed.insert(Subject::Volume(report.volume_id));
            self.books.live.volumes.insert(report.volume_id, report);
        } else if record.is_none() {
            self.on_report_of_unknown(agent_id, report);
        }
    }

    /// Takes a volume out of the books and lets its owner do the same.
    pub(crate) fn forget_volume(&mut self, volume: &VolumeRecord) {
        let volume_id = volume.spec.volume_id;
        self.books.live.volumes.remove(&volume_id);
        self.persist(Change::ForgetVolume(volume_id));
        self.send(volume.agent_id, ToAgent::ForgetVolume { volume_id });
    }
}

fn busy(name: &VolumeName, what: &str) -> Problem {
    let hint = format!("wait for it, or delete it: sutler volume rm {name} --purge");
    Problem::new(ErrorKind::Conflict, format!("volume {name} is {what}")).hint(hint)
}

/// What a failed creation has left behind may be somebody's, so its deletion is asked for in full.
fn check_purge_of_left(volume: &VolumeRecord, id: &str, purge: bool) -> Result<(), Problem> {
    if purge {
        return Ok(());
    }
    let (name, plugin) = (&volume.spec.name, &volume.spec.plugin);
    let what = format!(
        "volume {name} could not be created as asked for, and plugin {plugin} has {id} for it"
    );
    let hint = format!("to delete {id} in the back end: sutler volume rm {name} --purge");
    Err(Problem::new(ErrorKind::Conflict, what).hint(hint))
}

fn checked_size(name: &VolumeName, size: Bytes) -> Result<Bytes, Problem> {
    size.checked_volume_size().map_err(|error| {
        Problem::new(ErrorKind::Invalid, format!("volume {name}: {error}"))
            .hint("give a size such as 10G")
    })
}

fn check_fs_type(new: &NewVolume<'_>) -> Result<(), Problem> {
    let Some(fs_type) = new.fs_type else {
        return Ok(());
    };
    let invalid = |what: String| Err(Problem::new(ErrorKind::Invalid, what));
    if new.access == AccessType::Block {
        let name = new.name;
        return invalid(format!(
            "volume {name} is a block device and has no file system type"
        ));
    }
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '_';
    if fs_type.is_empty() || fs_type.len() > FS_TYPE_BYTES_MAX || !fs_type.chars().all(known) {
        return invalid(format!(
            "{fs_type:?} is not the name of a file system, such as ext4"
        ));
    }
    Ok(())
}
