//! `sutler class`: what volumes are made from.

use clap::Subcommand;
use sutler_api::volume::ClassView;

use super::Outcome;
use crate::context::Context;
use crate::failure::ExitStatus;
use crate::show::human::{list, or_dash};
use crate::show::table::table;

const EXAMPLES: &str = "\
Examples:
  sutler class ls
  sutler class ls --json | jq -r '.[] | select(.default) | .name'";

/// Verbs of `sutler class`.
#[derive(Debug, Subcommand)]
pub enum ClassVerb {
    /// List classes
    #[command(visible_alias = "list", after_help = EXAMPLES)]
    Ls,
}

/// Carries out a verb of `sutler class`.
///
/// # Errors
/// The call's failure.
pub async fn run(verb: ClassVerb, context: &mut Context) -> Outcome {
    let ClassVerb::Ls = verb;
    let answer = context.client.get_all::<ClassView>("/v1/classes").await?;
    context.show(&answer, |classes, _| render(classes))?;
    Ok(ExitStatus::OK)
}

pub(crate) fn render(classes: &[ClassView]) -> String {
    let header = [
        "NAME",
        "DEFAULT",
        "PLUGIN",
        "FS",
        "PARAMETERS",
        "READY ON",
        "FREE",
    ];
    let rows = classes.iter().map(|class| {
        vec![
            class.name.to_string(),
            if class.default { "yes" } else { "-" }.to_owned(),
            class.plugin.to_string(),
            or_dash(class.fs_type.as_ref()),
            list(
                class
                    .parameters
                    .iter()
                    .map(|(key, value)| format!("{key}={value}")),
            ),
            list(&class.ready_on),
            list(
                class
                    .free
                    .iter()
                    .map(|(agent, free)| format!("{agent}:{free}")),
            ),
        ]
    });
    table(&header, rows)
}
