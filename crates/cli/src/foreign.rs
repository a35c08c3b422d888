//! What people type who come from docker, podman, nomad, incus or kubectl: the tip that a wrong
//! command line is answered with, where the parser's guess by spelling would mislead. Pure.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A noun or verb of ours, or nothing; the words that others use in that place; what to say.
type Tip = (&'static str, &'static [&'static str], &'static str);

const WORDS: &[Tip] = &[
    (
        "",
        &["ps", "pods", "job", "jobs", "alloc", "allocs", "containers"],
        "sutler task ls",
    ),
    (
        "",
        &["log"],
        "sutler task logs NAME, or: sutler plugin logs NAME",
    ),
    (
        "",
        &["logs"],
        "sutler task logs NAME, or: sutler plugin logs NAME",
    ),
    ("", &["stop", "kill"], "sutler task stop NAME"),
    (
        "",
        &["start", "launch", "deploy", "container"],
        "sutler run IMAGE -- COMMAND",
    ),
    ("", &["exec", "attach", "shell", "console"], NO_EXEC),
    (
        "",
        &["inspect", "describe", "show", "info", "get"],
        "name what: sutler volume show NAME; task, plugin and operation have `show` too",
    ),
    (
        "",
        &["ls", "list"],
        "name what: sutler volume ls; task, plugin, class and node have `ls` too",
    ),
    (
        "",
        &["rm", "delete", "destroy"],
        "name what: sutler volume rm NAME, sutler plugin rm NAME",
    ),
    (
        "",
        &["create", "add", "apply", "install"],
        "name what: sutler volume create NAME --size SIZE, sutler plugin add IMAGE",
    ),
    (
        "",
        &[
            "images", "image", "pull", "push", "build", "rmi", "load", "import",
        ],
        "images are pulled where they are used, by `sutler run` and `sutler plugin add`; there is \
         no list of them",
    ),
    ("", &["login", "logout"], CREDENTIALS),
    (
        "",
        &["down", "shutdown"],
        "end `sutler up` with Ctrl-C or SIGTERM; containers run on",
    ),
    (
        "",
        &["init", "server", "daemon", "cluster"],
        "sutler up, or `master` and `agent` apart",
    ),
    (
        "",
        &["join"],
        "sutler agent --master https://ADDRESS --join join.json",
    ),
    (
        "",
        &["status", "top", "stats", "system", "doctor", "health"],
        "sutler node ls, sutler plugin ls, sutler volume ls; figures: sutler api GET /metrics",
    ),
    (
        "",
        &["storage", "pool", "pools", "storageclass", "sc"],
        "sutler class ls",
    ),
    ("", &["pv", "pvc"], "sutler volume ls"),
    (
        "",
        &["trash"],
        "sutler volume ls shows what is in it; back with: sutler volume restore NAME",
    ),
    (
        "",
        &["network", "net"],
        "a container is on its host's network",
    ),
    (
        "",
        &["restart"],
        "sutler plugin restart NAME; a task is run anew: sutler run IMAGE -- COMMAND",
    ),
    ("", &["drain", "cordon"], NO_DRAIN),
    (
        "node",
        &["show", "inspect", "status", "info", "get", "describe"],
        "sutler node ls",
    ),
    (
        "operation",
        &["ls", "list"],
        "volumes show theirs: sutler volume why NAME",
    ),
    ("", &["why"], "sutler volume why NAME"),
    ("", &["mount", "umount", "unmount"], MOUNT),
    ("", &["snapshot", "clone", "backup"], SNAPSHOT),
    (
        "",
        &["config", "context"],
        "each option is a flag; see: sutler --help",
    ),
    (
        "volume",
        &["resize", "expand", "extend"],
        "sutler volume grow NAME --size SIZE",
    ),
    (
        "volume",
        &["delete", "del", "destroy", "purge"],
        "sutler volume rm NAME [--purge]",
    ),
    (
        "volume",
        &["inspect", "info", "describe", "get", "status"],
        "sutler volume show NAME",
    ),
    (
        "volume",
        &["undelete", "recover", "undo"],
        "sutler volume restore NAME",
    ),
    (
        "volume",
        &["add", "new", "make", "register"],
        "sutler volume create NAME --size SIZE",
    ),
    (
        "volume",
        &["mount", "umount", "attach", "detach", "unmount"],
        MOUNT,
    ),
    ("volume", &["snapshot", "clone", "copy", "backup"], SNAPSHOT),
    (
        "volume",
        &["prune", "empty"],
        "the trash empties itself; one volume now: sutler volume rm NAME --purge",
    ),
    ("task", &["prune"], TASKS_LEAVE),
    (
        "task",
        &["delete"],
        "sutler task rm NAME, once it has ended",
    ),
    ("task", &["kill", "end"], "sutler task stop NAME"),
    ("task", &["ps"], "sutler task ls"),
    (
        "task",
        &["run", "create", "start", "add"],
        "sutler run IMAGE -- COMMAND",
    ),
    (
        "task",
        &["inspect", "info", "describe", "status", "get", "why"],
        "sutler task show NAME",
    ),
    ("task", &["exec", "attach", "shell"], NO_EXEC),
    (
        "plugin",
        &["install", "create", "register", "enable"],
        "sutler plugin add IMAGE",
    ),
    (
        "plugin",
        &["uninstall", "delete", "disable", "deregister"],
        "sutler plugin rm NAME",
    ),
    (
        "plugin",
        &["inspect", "info", "describe", "status", "get", "why"],
        "sutler plugin show NAME",
    ),
    (
        "plugin",
        &["upgrade", "update", "set", "edit"],
        "give its whole definition again, with the same name: sutler plugin add FILE.toml",
    ),
    (
        "class",
        &["create", "add", "rm", "set", "edit"],
        "classes stand in a plugin's definition (docs/plugins.md): sutler plugin add FILE.toml",
    ),
    ("class", &["show", "inspect", "get"], "sutler class ls"),
    (
        "node",
        &["add", "join", "create"],
        "a node joins when its agent starts: sutler agent --master URL --join join.json",
    ),
    ("node", &["drain", "cordon"], NO_DRAIN),
    (
        "operation",
        &["cancel", "rm"],
        "an operation is not taken back; look: sutler operation show UUID",
    ),
];

/// A verb of ours; the options that others give it; what to say.
const OPTIONS: &[Tip] = &[
    (
        "run",
        &["--rm"],
        "leave it out: ended tasks leave by themselves, their volumes stay",
    ),
    (
        "run",
        &["-i", "-t", "--interactive", "--tty"],
        "leave it out: output shows here, and a container has no terminal and no input",
    ),
    (
        "run",
        &["-p", "-P", "--publish", "--net", "--network", "--hostname"],
        "leave it out: a container is on its host's network, with the host's ports",
    ),
    ("run", &["-m", "--memory"], "--mem SIZE, such as --mem 256M"),
    (
        "run",
        &["--mount", "--tmpfs"],
        "-v NAME:/path, or -v NAME:SIZE:/path to make the volume",
    ),
    (
        "run",
        &["--volumes-from"],
        "name each volume: -v NAME:/path",
    ),
    (
        "run",
        &["-c", "--cpu", "--cpu-shares"],
        "--cpus CORES, such as --cpus 0.5",
    ),
    ("run", &["--restart"], "leave it out: a task runs once"),
    ("run", &["--env-file"], "one -e KEY=VALUE for each"),
    (
        "run",
        &["-w", "--workdir", "-u", "--user", "--entrypoint"],
        IMAGE_DECIDES,
    ),
    (
        "run",
        &["--privileged", "--cap-add", "--device"],
        "leave it out: tasks have no privileges; a plugin's definition may give it some",
    ),
    (
        "create",
        &["--name"],
        "the name comes first: sutler volume create NAME --size SIZE",
    ),
    (
        "create",
        &["-d", "--driver", "--storage-class", "--pool"],
        "--class CLASS; see: sutler class ls",
    ),
    (
        "create",
        &["-o", "--opt", "--label", "--parameter"],
        "parameters stand in a class; see: sutler class ls",
    ),
    (
        "create",
        &["-s", "--capacity"],
        "--size SIZE, such as --size 10G",
    ),
];

const NO_EXEC: &str =
    "nothing can be started in a running container; its output: sutler task logs -f NAME";
const NO_DRAIN: &str =
    "there is no verb for it yet; end its tasks, remove its volumes, then stop its agent";
const MOUNT: &str = "a volume is mounted for a task: sutler run -v NAME:/path IMAGE -- COMMAND";
const SNAPSHOT: &str = "there are no snapshots yet";
const TASKS_LEAVE: &str = "end one with: sutler task stop NAME; ended tasks leave by themselves, \
                           or by: sutler task rm NAME";
const IMAGE_DECIDES: &str =
    "leave it out: the image decides; give a command after it, such as: IMAGE -- sh -c '...'";
const CREDENTIALS: &str =
    "each node reads the auth file that `docker login` or `podman login` writes there";

/// Puts our tip in place of the parser's guess, where there is one.
pub(crate) fn advise(error: &mut clap::Error, arguments: &[OsString]) {
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand => told(error, ContextKind::InvalidSubcommand)
            .and_then(|word| tip_for_word(noun_before(arguments, &word), &word)),
        ErrorKind::UnknownArgument => told(error, ContextKind::InvalidArg)
            .and_then(|option| tip_for_option(verb_of(arguments)?, &option)),
        _ => None,
    };
    if let Some(tip) = tip {
        for guess in [
            ContextKind::SuggestedSubcommand,
            ContextKind::SuggestedArg,
            ContextKind::SuggestedCommand,
        ] {
            error.remove(guess);
        }
        let tip = vec![StyledStr::from(tip)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tip));
    }
}

fn told(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn tip_for_word(noun: &str, word: &str) -> Option<&'static str> {
    find(WORDS, noun, word)
}

fn tip_for_option(verb: &str, option: &str) -> Option<&'static str> {
    find(OPTIONS, verb, option.split(['=', ' ']).next()?)
}

fn find(tips: &[Tip], place: &str, word: &str) -> Option<&'static str> {
    let mut tips = tips.iter();
    let found = tips.find(|(of, words, _)| *of == place && words.contains(&word));
    found.map(|(_, _, tip)| *tip)
}

/// The noun that stands before the first such word, if it is one of the table.
fn noun_before(arguments: &[OsString], word: &str) -> &'static str {
    let before = arguments.iter().take_while(|argument| *argument != word);
    let mut nouns = before.filter_map(|argument| match argument.to_str()? {
        "volume" | "vol" => Some("volume"),
        text => WORDS
            .iter()
            .map(|(noun, _, _)| *noun)
            .find(|noun| !noun.is_empty() && *noun == text),
    });
    nouns.next().unwrap_or("")
}

/// The verb whose options have tips, if the command line has it.
fn verb_of(arguments: &[OsString]) -> Option<&'static str> {
    let mut words = arguments.iter().skip(1);
    words.find_map(|word| {
        OPTIONS
            .iter()
            .map(|(verb, _, _)| *verb)
            .find(|verb| word == verb)
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Cli;

    fn answer(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let mut error = Cli::try_parse_from(&arguments).expect_err(line);
        advise(&mut error, &arguments);
        error.to_string()
    }

    #[test]
    fn each_word_of_others_is_none_of_ours_and_has_its_tip() {
        for (noun, words, tip) in WORDS {
            for word in *words {
                let line = ["sutler", *noun, *word].join(" ").replace("  ", " ");
                let text = answer(&line);
                assert!(text.contains(&format!("tip: {tip}\n")), "{line}: {text}");
                assert!(!text.contains("similar"), "{line}: {text}");
            }
        }
    }

    #[test]
    fn each_option_of_others_has_its_tip() {
        for (verb, options, tip) in OPTIONS {
            let line = match *verb {
                "create" => "volume create",
                verb => verb,
            };
            for option in *options {
                let text = answer(&format!("sutler --json {line} {option} busybox"));
                assert!(text.contains(&format!("tip: {tip}\n")), "{option}: {text}");
                assert!(!text.contains("to pass"), "{option}: {text}");
            }
        }
    }

    #[test]
    fn options_before_a_noun_and_words_that_nobody_knows_are_left_to_the_parser() {
        let text = answer("sutler --master https://h:1 vol --json resize data");
        assert!(text.contains("tip: sutler volume grow"), "{text}");
        let text = answer("sutler volumes");
        assert!(text.contains("similar"), "{text}");
        let text = answer("sutler volume ls --rm");
        assert!(!text.contains("leave it out"), "{text}");
    }

    /// What a tip says to type is a command line of ours, as far as it can be told from words.
    #[test]
    fn each_tip_names_verbs_that_exist() {
        let top = Cli::command();
        let tips = WORDS.iter().map(|(_, _, tip)| *tip);
        for tip in tips.chain(OPTIONS.iter().map(|(_, _, tip)| *tip)) {
            for (at, _) in tip.match_indices("sutler ") {
                let mut command = &top;
                let words = tip[at + "sutler ".len()..].split([' ', ',', ';', '`', ':']);
                for word in words.take_while(|word| !word.starts_with(['-', '/', '['])) {
                    if !command.has_subcommands() {
                        break;
                    }
                    command = command
                        .find_subcommand(word)
                        .unwrap_or_else(|| panic!("{tip:?} says {word:?}"));
                }
            }
        }
    }
}
