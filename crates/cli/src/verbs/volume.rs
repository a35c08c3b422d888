//! `sutler volume`: the noun's verbs and their options.
//!
//! Changes are in `volume_change`, texts in `volume_show`.

use clap::{Args, Subcommand};
use sutler_api::volume::{VolumeView, WhyView};
use sutler_ids::Bytes;
use sutler_ids::{AgentName, ClassName, VolumeName};

use super::{Outcome, volume_change, volume_show};
use crate::context::Context;
use crate::failure::ExitStatus;
use crate::values::limits::volume_size;
use crate::wait::WaitArgs;

const CREATE_EXAMPLES: &str = "\
Examples:
  sutler volume create data --size 10G
  sutler volume create data --class local-xfs --size 10G --agent web-1
  sutler volume create raw --size 1G --block
  sutler volume create data --size 10G --no-wait --json";

const LS_EXAMPLES: &str = "\
Examples:
  sutler volume ls
  sutler volume ls --json | jq -r '.[] | select(.state == \"uncertain\") | .name'

USED is what was last seen while published; `!` marks 85 % and more. BY names the tasks.";

const WHY_EXAMPLES: &str = "\
Examples:
  sutler volume why data

It tells what state the volume is in, the steps that led there, the cause and what is next.";

const RM_EXAMPLES: &str = "\
Examples:
  sutler volume rm data              to the trash, for its retention
  sutler volume restore data         and back
  sutler volume rm data --purge      delete it in the back end now
  sutler volume rm data --forget     when it cannot be deleted any more: what may be left, and how

It refuses while a task uses the volume, and names the task (exit status 4).";

const ADOPT_EXAMPLES: &str = "\
Examples:
  sutler volume adopt data               its node has it: shown as unknown by sutler volume ls
  sutler volume adopt data --as old      when there is another volume of that name by now

Books that are an older copy do not have what was made since. Nothing of it is deleted: it runs on
where it is, and its name is taken, until it is adopted.";

const GROW_EXAMPLES: &str = "\
Examples:
  sutler volume grow data --size 20G     the new size, not the difference";

/// Verbs of `sutler volume`.
#[derive(Debug, Subcommand)]
pub enum VolumeVerb {
    /// Make a volume
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls,
    /// Show one volume
    Show {
        /// The volume
        name: VolumeName,
    },
    /// Explain why a volume is as it is
    #[command(after_help = WHY_EXAMPLES)]
    Why {
        /// The volume
        name: VolumeName,
    },
    /// Remove a volume: to the trash, or for good
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm(RmArgs),
    /// Take a volume back out of the trash
    Restore {
        /// The volume
        name: VolumeName,
    },
    /// Take a volume into the cluster's books that its node has and they do not
    #[command(after_help = ADOPT_EXAMPLES)]
    Adopt(AdoptArgs),
    /// Make a volume larger
    #[command(after_help = GROW_EXAMPLES)]
    Grow(GrowArgs),
}

/// Options of `sutler volume create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    pub name: VolumeName,
    /// What it is made from; see `sutler class ls` [default: the default class]
    #[arg(long, value_name = "CLASS")]
    pub class: Option<ClassName>,
    /// Its size, such as 10G or 512MiB
    #[arg(long, value_name = "SIZE", value_parser = volume_size, allow_hyphen_values = true)]
    pub size: Bytes,
    /// A block device instead of a file system
    #[arg(long, conflicts_with = "fs_type")]
    pub block: bool,
    /// The file system, such as ext4 or xfs [default: the class's choice]
    #[arg(long, value_name = "FS")]
    pub fs_type: Option<String>,
    /// The node [default: any that has the plugin ready]
    #[arg(long, visible_alias = "node", value_name = "NODE")]
    pub agent: Option<AgentName>,
    /// Of waiting.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `sutler volume rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// The volume
    pub name: VolumeName,
    /// Delete it in the back end now; its data cannot come back
    #[arg(long)]
    pub purge: bool,
    /// Forget it, whatever its back end has of it: for one that cannot be deleted any more
    #[arg(long, conflicts_with = "purge")]
    pub forget: bool,
    /// Really forget it
    #[arg(long, requires = "forget")]
    pub yes: bool,
    /// Of waiting.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `sutler volume adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The volume, by the name that its node has for it
    pub name: VolumeName,
    /// Its node, when several have one of that name
    #[arg(long, visible_alias = "node", value_name = "NODE")]
    pub agent: Option<AgentName>,
    /// Another name for it
    #[arg(long = "as", value_name = "NAME")]
    pub new_name: Option<VolumeName>,
}

/// Options of `sutler volume grow`.
#[derive(Debug, Args)]
pub struct GrowArgs {
    /// The volume
    pub name: VolumeName,
    /// The new size, such as 20G
    #[arg(long, value_name = "SIZE", value_parser = volume_size, allow_hyphen_values = true)]
    pub size: Bytes,
    /// Of waiting.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Carries out a verb of `sutler volume`.
///
/// # Errors
/// The call's failure, or the operation's.
pub async fn run(verb: VolumeVerb, context: &mut Context) -> Outcome {
    match verb {
        VolumeVerb::Create(args) => return volume_change::create(args, context).await,
        VolumeVerb::Rm(args) => return volume_change::remove(args, context).await,
        VolumeVerb::Restore { name } => return volume_change::restore(&name, context).await,
        VolumeVerb::Adopt(args) => return volume_change::adopt(args, context).await,
        VolumeVerb::Grow(args) => return volume_change::grow(args, context).await,
        VolumeVerb::Ls => {
            let answer = context.client.get_all::<VolumeView>("/v1/volumes").await?;
            context.show(&answer, |volumes, now| volume_show::rows(volumes, now))?;
        }
        VolumeVerb::Show { name } => {
            let answer = context
                .client
                .get::<VolumeView>(&format!("/v1/volumes/{name}"))
                .await?;
            context.show(&answer, volume_show::one)?;
        }
        VolumeVerb::Why { name } => {
            let answer = context
                .client
                .get::<WhyView>(&format!("/v1/volumes/{name}/why"))
                .await?;
            context.show(&answer, |why, _| volume_show::why(why))?;
        }
    }
    Ok(ExitStatus::OK)
}
