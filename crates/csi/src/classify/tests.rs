//! The whole table: every call, every code, first attempt and repeat.

use super::*;

/// One letter per code, in the order of `Code::ALL`:
/// CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS
/// PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED
/// INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED TRANSPORT BAD_ANSWER NOT_SENT.
///
/// `?` uncertain, `0` not found; refused: `R`equest, `C`onflict, `E`xhausted, `P`recondition,
/// `F`orbidden, `U`nimplemented; the same in lower case: refused, but invert first.
#[rustfmt::skip]
const TABLE: [(Rpc, &str, &str); 20] = [
    //                          first attempt          repeat after doubt
    (Rpc::Probe,                "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::PluginInfo,           "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::PluginCapabilities,   "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::ControllerCapabilities,"??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::CreateVolume,         "??R?RCFeP?RU???F??R", "??r?rcfep?ru???f??r"),
    (Rpc::DeleteVolume,         "??R?0CFEP?RU???F??R", "????0???P??????????"),
    (Rpc::Attach,               "??R?0CFeP?RU???F??R", "??r?0cfep?ru???f??r"),
    (Rpc::Detach,               "??R?0CFEP?RU???F??R", "????0???P??????????"),
    (Rpc::Validate,             "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::ListVolumes,          "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::GetCapacity,          "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::ExpandController,     "??R?0CFEP?RU???F??R", "????0??????????????"),
    (Rpc::NodeCapabilities,     "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::NodeInfo,             "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::Stage,                "??R?0CFeP?RU???F??R", "??r?0cfep?ru???f??r"),
    (Rpc::Unstage,              "??R?0CFEP?RU???F??R", "????0???P??????????"),
    (Rpc::Publish,              "??R?0CFeP?RU???F??R", "??r?0cfep?ru???f??r"),
    (Rpc::Unpublish,            "??R?0CFEP?RU???F??R", "????0???P??????????"),
    (Rpc::VolumeStats,          "??R?0CF?P?RU???F??R", "??R?0CF?P?RU???F??R"),
    (Rpc::ExpandNode,           "??R?0CFER?RU???F??R", "????0??????????????"),
];

fn letter(verdict: Verdict) -> char {
    let (refused, invert) = match verdict {
        Verdict::Uncertain => return '?',
        Verdict::NotFound => return '0',
        Verdict::Definite(refused) => (refused, false),
        Verdict::InvertFirst(refused) => (refused, true),
    };
    let letter = match refused {
        Refused::Request => 'R',
        Refused::Conflict => 'C',
        Refused::Exhausted => 'E',
        Refused::Precondition => 'P',
        Refused::Forbidden => 'F',
        Refused::Unimplemented => 'U',
    };
    if invert {
        letter.to_ascii_lowercase()
    } else {
        letter
    }
}

fn row(rpc: Rpc, attempt_was_first: bool) -> String {
    let verdict = |code| {
        let error = CsiError {
            code,
            message: String::new(),
            rpc,
        };
        letter(classify(rpc, &error, attempt_was_first))
    };
    Code::ALL.into_iter().map(verdict).collect()
}

#[test]
fn every_call_and_code_has_its_verdict() {
    assert_eq!(TABLE.map(|(rpc, _, _)| rpc), Rpc::ALL);
    for (rpc, first, repeat) in TABLE {
        assert_eq!(row(rpc, true), first, "{rpc}, first attempt");
        assert_eq!(row(rpc, false), repeat, "{rpc}, repeat");
    }
}

#[test]
fn a_repeat_never_proves_that_nothing_was_done() {
    for rpc in Rpc::ALL.into_iter().filter(|rpc| rpc.kind() == RpcKind::Do) {
        for code in Code::ALL {
            let error = CsiError {
                code,
                message: String::new(),
                rpc,
            };
            let verdict = classify(rpc, &error, false);
            assert!(
                !matches!(verdict, Verdict::Definite(_)),
                "{rpc} {code}: {verdict:?}"
            );
        }
    }
}

#[test]
fn what_never_succeeds_is_never_repeated_and_forbidden_waits_for_the_operator() {
    let never: Vec<_> = Code::ALL
        .into_iter()
        .filter(|code| code.pace() == Pace::Never)
        .collect();
    let operator: Vec<_> = Code::ALL
        .into_iter()
        .filter(|code| code.pace() == Pace::VerySlow)
        .collect();
    let expected = [
        Code::InvalidArgument,
        Code::AlreadyExists,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::NotSent,
    ];
    assert_eq!(never, expected);
    assert_eq!(operator, [Code::PermissionDenied, Code::Unauthenticated]);
}
