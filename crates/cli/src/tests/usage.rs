//! Command lines that cannot be right: each with exit status 2 and the fault named.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use crate::args::Cli;
use crate::{ExitStatus, Invocation};

fn refused(arguments: &[&str]) -> String {
    let all = ["sutler"].iter().chain(arguments);
    Cli::try_parse_from(all)
        .expect_err(&format!("{arguments:?} must be refused"))
        .to_string()
}

#[test]
fn the_grammar_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn each_wrong_command_line_names_its_fault() {
    let long = "x".repeat(300);
    for (arguments, fault) in [
        (
            &["volume", "create", "", "--size", "1G"][..],
            "volume name is empty",
        ),
        (
            &["volume", "create", &long, "--size", "1G"],
            "300 bytes, more than the 63 allowed",
        ),
        (
            &["volume", "create", "a/b", "--size", "1G"],
            "the character '/'",
        ),
        (
            &["volume", "create", "a\u{7}", "--size", "1G"],
            "the character '\\u{7}'",
        ),
        (&["volume", "create", "a"], "--size <SIZE>"),
        (&["volume", "create", "a", "--size", "0"], "size is 0"),
        (&["volume", "create", "a", "--size", "-1"], "is negative"),
        (
            &["volume", "create", "a", "--size", "lots"],
            "is not a number",
        ),
        (&["volume", "create", "a", "--size", ""], "size is empty"),
        (
            &["volume", "create", "a", "--size", "99999P"],
            "over the largest possible",
        ),
        (
            &["volume", "create", "a", "--size", "1G", "--class", "b c"],
            "class name \"b c\"",
        ),
        (
            &[
                "volume",
                "create",
                "a",
                "--size",
                "1G",
                "--block",
                "--fs-type",
                "xfs",
            ],
            "cannot be",
        ),
        (&["volume", "grow", "a", "--size", "0"], "size is 0"),
        (&["volume", "rm", "a", "--timeout", "5"], "is not a time"),
        (&["run"], "<IMAGE>"),
        (&["run", "--cpus", "0", "x"], "below the least possible"),
        (&["run", "--cpus", "-1", "x"], "below the least possible"),
        (&["run", "--cpus", "many", "x"], "not a number of cores"),
        (&["run", "--mem", "1K", "x"], "below the least possible, 6M"),
        (&["run", "--mem", "-1G", "x"], "negative"),
        (&["run", "-e", "A", "x"], "has no `=`"),
        (&["run", "-v", "data:data", "x"], "is relative"),
        (&["run", "-v", "data:0:/data", "x"], "size is 0"),
        (&["run", "--name", "a b", "x"], "task id \"a b\""),
        (&["run", "--no-wait", "x"], "--detach"),
        (&["run", "--stop-grace", "5", "x"], "is not a time"),
        (&["plugin", "add", "x", "--set", "a"], "has no `=`"),
        (&["plugin", "add", "x", "--name", "/"], "plugin name \"/\""),
        (&["operation", "show", "7"], "is not a UUID"),
        (&["api", "GET", "v1/volumes"], "is not a path of the API"),
        (&["api", "PATCH", "/v1"], "PATCH"),
        (&["up", "--listen", "here"], "invalid socket address"),
        (&["up", "--trash-retention", "1"], "is not a time"),
        (
            &["up", "--no-local", "--local-image", "x"],
            "cannot be used with",
        ),
        (&["up", "--name", "a/b"], "agent name \"a/b\""),
        (&["agent"], "--join <FILE>"),
        (&["volumes"], "unrecognized subcommand"),
        (
            &["task", "logs", "a", "--stdout", "--stderr"],
            "cannot be used with",
        ),
    ] {
        let error = refused(arguments);
        assert!(error.contains(fault), "{arguments:?}: {error}");
    }
}

#[test]
fn a_wrong_command_line_is_told_to_programs_too() {
    let told = |line: &str| {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let mut error = Cli::try_parse_from(&arguments).expect_err(line);
        crate::foreign::advise(&mut error, &arguments);
        let text = crate::usage_report(&error).render_json();
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let told_of_word = told("sutler --json volume resize");
    assert_eq!(told_of_word["error"], "unrecognized subcommand 'resize'");
    assert_eq!(told_of_word["hint"], "sutler volume grow NAME --size SIZE");
    assert_eq!(told_of_word["exit_status"], 2);
    let told_of_size = told("sutler volume create a --size 0 --json");
    let error = told_of_size["error"].as_str().expect("a text");
    assert!(error.contains("size is 0"), "{error}");
    assert!(
        told_of_size["hint"]
            .as_str()
            .expect("a text")
            .contains("--help")
    );
}

#[test]
fn everything_after_the_image_belongs_to_the_command() {
    let invocation = crate::parse(
        ["sutler", "run", "busybox", "ls", "-l", "--json", "--help"].map(OsString::from),
    );
    let Invocation::Client(cli) = invocation else {
        panic!("{invocation:?}")
    };
    assert!(!cli.json);
    let crate::args::Verb::Run(args) = cli.verb else {
        panic!("{:?}", cli.verb)
    };
    assert_eq!(args.command, ["ls", "-l", "--json", "--help"]);
}

#[test]
fn daemon_verbs_reach_the_program() {
    let parse = |line: &str| crate::parse(line.split(' ').map(OsString::from));
    let Invocation::Up(up, connection, json) = parse("sutler up --state-dir /s --json") else {
        panic!("`up` is not a client verb")
    };
    assert_eq!(up.serve.listen.to_string(), "127.0.0.1:5050");
    assert_eq!((connection.state_dir.to_str(), json.0), (Some("/s"), true));
    let Invocation::Agent(agent, connection, _) =
        parse("sutler agent --join j.json --master https://10.0.0.1:5050")
    else {
        panic!("`agent` is not a client verb")
    };
    assert_eq!(agent.join.to_str(), Some("j.json"));
    assert_eq!(connection.master.as_deref(), Some("https://10.0.0.1:5050"));
    assert!(matches!(parse("sutler shim --dir /c"), Invocation::Shim(_)));
    assert!(matches!(parse("sutler master"), Invocation::Master(..)));
}

#[test]
fn a_wrong_command_line_exits_with_2_and_help_with_0() {
    let parse = |line: &str| crate::parse(line.split(' ').map(OsString::from));
    assert!(matches!(
        parse("sutler nothing"),
        Invocation::Exit(ExitStatus::USAGE)
    ));
    assert!(matches!(
        parse("sutler"),
        Invocation::Exit(ExitStatus::USAGE)
    ));
    assert!(matches!(
        parse("sutler --version"),
        Invocation::Exit(ExitStatus::OK)
    ));
}
