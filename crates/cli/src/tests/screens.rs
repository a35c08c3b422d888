//! Every screen as a snapshot: tables, single objects, help.

use clap::CommandFactory;
use sutler_api::operation::{OperationKind, OperationState};
use sutler_api::plugin::PluginState;
use sutler_api::task::TaskState;
use sutler_api::volume::{VolumeState, VolumeView, WhyMark, WhyStep, WhyView};
use sutler_ids::Bytes;

use super::sample::{
    agent, ago, broken_instance, class, exited, holder, instance, not_started, now, operation,
    plugin, problem, signalled, task, volume,
};
use crate::args::Cli;
use crate::verbs::{class as class_verb, node, operation as operation_verb, plugin_show};
use crate::verbs::{task as task_verb, volume_show};

fn trashed() -> VolumeView {
    let end = jiff::Timestamp::from_second(now().as_second() + 82_800).unwrap();
    VolumeView {
        trash_until: Some(end),
        ..volume("old", VolumeState::Trashed)
    }
}

fn busy() -> VolumeView {
    VolumeView {
        used: Some(Bytes(9 << 30)),
        holders: vec![holder("db.1", false), holder("backup", true)],
        ..volume("pgdata", VolumeState::InUse)
    }
}

#[test]
fn volumes() {
    let stuck = VolumeView {
        problem: Some(problem()),
        ..volume("odd", VolumeState::Uncertain)
    };
    let all = [busy(), volume("data", VolumeState::Ready), trashed(), stuck];
    insta::assert_snapshot!("volume_ls", volume_show::rows(&all, now()));
    insta::assert_snapshot!("volume_ls_empty", volume_show::rows(&[], now()));
    let shown = VolumeView {
        problem: Some(problem()),
        ..busy()
    };
    insta::assert_snapshot!("volume_show", volume_show::one(&shown, now()));
}

#[test]
fn why() {
    let step = |mark, text: &str, took_ms| {
        let at = (mark == WhyMark::Done).then(|| ago(14));
        WhyStep {
            mark,
            text: text.to_owned(),
            at,
            took_ms,
        }
    };
    let view = WhyView {
        volume: volume("scratch", VolumeState::Releasing),
        summary: "scratch is releasing for 14 s".to_owned(),
        steps: vec![
            step(WhyMark::Done, "task batch.7 ended", None),
            step(WhyMark::Done, "unpublish", Some(38)),
            step(WhyMark::Pending, "unstage, attempt 3", None),
            step(WhyMark::Failed, "unstage, attempt 2", Some(5)),
        ],
        cause: Some("plugin local could not unstage the volume".to_owned()),
        raw: Some("Internal: target is busy\n\u{7}".to_owned()),
        next: "it is tried again in 8 s".to_owned(),
    };
    insta::assert_snapshot!("volume_why", volume_show::why(&view));
}

#[test]
fn tasks() {
    let all = [
        task(TaskState::Running),
        exited(7),
        signalled(TaskState::Failed, 9, true),
        not_started(problem()),
    ];
    insta::assert_snapshot!("task_ls", task_verb::rows(&all, now()));
    insta::assert_snapshot!("task_show", task_verb::one(&not_started(problem()), now()));
}

#[test]
fn plugins() {
    let view = plugin(vec![
        instance("web-1", PluginState::Ready),
        broken_instance("db-1"),
    ]);
    insta::assert_snapshot!("plugin_ls", plugin_show::rows(std::slice::from_ref(&view)));
    insta::assert_snapshot!("plugin_show", plugin_show::one(&view, now()));
}

#[test]
fn classes_nodes_and_operations() {
    insta::assert_snapshot!("class_ls", class_verb::render(&[class()]));
    let away = sutler_api::plugin::AgentView {
        problem: Some(problem()),
        ..agent("db-1", false)
    };
    insta::assert_snapshot!(
        "node_ls",
        node::render(&[agent("web-1", true), away], now())
    );
    let failed = operation(OperationKind::GrowVolume, OperationState::Failed);
    insta::assert_snapshot!("operation_show", operation_verb::render(&failed, now()));
}

#[test]
fn help_of_the_main_verbs() {
    for path in [
        &[][..],
        &["up"],
        &["agent"],
        &["run"],
        &["volume"],
        &["volume", "create"],
        &["volume", "rm"],
        &["plugin", "add"],
        &["task", "logs"],
    ] {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut found = &mut command;
        for name in path {
            found = found
                .find_subcommand_mut(name)
                .expect("a verb of this name");
        }
        let help = found.render_help().to_string();
        insta::assert_snapshot!(format!("help_{}", path.join("_")), help);
    }
}

#[test]
fn every_verb_has_examples_or_needs_none() {
    /// Verbs whose usage line says all there is.
    const PLAIN: [&str; 6] = ["show", "restore", "ls", "version", "shim", "stop"];
    let mut command = Cli::command();
    command.build();
    let mut open = vec![&command];
    while let Some(verb) = open.pop() {
        // The parser's own `help` repeats every verb.
        open.extend(
            verb.get_subcommands()
                .filter(|verb| verb.get_name() != "help"),
        );
        let plain = verb.has_subcommands() || PLAIN.contains(&verb.get_name());
        let examples = verb
            .get_after_help()
            .is_some_and(|t| t.to_string().contains("Examples:"));
        assert!(plain || examples, "`{}` has no examples", verb.get_name());
    }
}
