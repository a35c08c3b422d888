//! Objects as a master would show them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sutler_api::definition::PluginDefinition;
use sutler_api::operation::{OperationKind, OperationState, OperationView};
use sutler_api::plugin::{AgentView, PluginFactsView, PluginInstanceView, PluginState, PluginView};
use sutler_api::task::{TaskExit, TaskState, TaskView, TaskVolume};
use sutler_api::volume::{Accepted, AccessType, ClassView, VolumeHolder, VolumeState, VolumeView};
use sutler_ids::{AgentId, AgentName, ClassName, OperationUuid, PluginName, TaskId};
use sutler_ids::{Bytes, ErrorKind, Problem, SaidBy};
use sutler_ids::{VolumeId, VolumeName};

pub const UUID: &str = "0190b5a2-7c1e-4000-8000-000000000001";

/// A fixed now, and moments before it.
pub fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

pub fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

pub fn volume(name: &str, state: VolumeState) -> VolumeView {
    VolumeView {
        name: VolumeName::new(name).unwrap(),
        volume_id: UUID.parse::<VolumeId>().unwrap(),
        class: ClassName::new("local").unwrap(),
        plugin: PluginName::new("local").unwrap(),
        agent: AgentName::new("web-1").unwrap(),
        csi_volume_id: Some("vol-7".to_owned()),
        capacity: Bytes(10 << 30),
        used: None,
        access: AccessType::Mount,
        state,
        state_since: ago(14),
        holders: Vec::new(),
        trash_until: None,
        problem: None,
        created_at: ago(12 * 86_400),
    }
}

pub fn holder(task: &str, read_only: bool) -> VolumeHolder {
    VolumeHolder {
        task_id: TaskId::new(task).unwrap(),
        read_only,
    }
}

pub fn problem() -> Problem {
    Problem::new(
        ErrorKind::Exhausted,
        "volume data could not be created: no room in class local",
    )
    .said_by(SaidBy::Plugin("local".to_owned()))
    .raw("ResourceExhausted: need 10G,\nhave 3G")
    .hint("sutler class ls")
}

pub fn accepted(state: VolumeState) -> Accepted {
    let operation_uuid = UUID.parse::<OperationUuid>().unwrap();
    Accepted {
        operation_uuid,
        volume: volume("data", state),
    }
}

pub fn operation(kind: OperationKind, state: OperationState) -> OperationView {
    OperationView {
        operation_uuid: UUID.parse().unwrap(),
        kind,
        volume: VolumeName::new("data").unwrap(),
        state,
        started_at: ago(20),
        ended_at: None,
        problem: (state == OperationState::Failed).then(problem),
    }
}

pub fn task(state: TaskState) -> TaskView {
    let ran = !matches!(
        state,
        TaskState::Accepted | TaskState::Pulling | TaskState::Preparing | TaskState::Starting
    );
    TaskView {
        task_id: TaskId::new("web").unwrap(),
        image: "busybox".to_owned(),
        image_digest: None,
        command: vec![
            "sh".to_owned(),
            "-c".to_owned(),
            "date >> /data/log".to_owned(),
        ],
        agent: AgentName::new("web-1").unwrap(),
        state,
        exit: None,
        problem: None,
        volumes: vec![TaskVolume {
            volume_id: UUID.parse().unwrap(),
            name: VolumeName::new("data").unwrap(),
            path: "/data".to_owned(),
            read_only: false,
        }],
        cpus: Some(0.5),
        memory: Some(Bytes::mib(64)),
        created_at: ago(30),
        started_at: ran.then(|| ago(20)),
        ended_at: state.is_terminal().then(|| ago(2)),
        progress: None,
    }
}

pub fn exited(code: i32) -> TaskView {
    let state = if code == 0 {
        TaskState::Finished
    } else {
        TaskState::Failed
    };
    let exit = TaskExit {
        code: Some(code),
        signal: None,
        oom_killed: false,
    };
    TaskView {
        exit: Some(exit),
        ..task(state)
    }
}

pub fn signalled(state: TaskState, signal: i32, oom_killed: bool) -> TaskView {
    let exit = TaskExit {
        code: None,
        signal: Some(signal),
        oom_killed,
    };
    TaskView {
        exit: Some(exit),
        ..task(state)
    }
}

pub fn not_started(problem: Problem) -> TaskView {
    TaskView {
        problem: Some(problem),
        started_at: None,
        ..task(TaskState::Failed)
    }
}

pub fn instance(agent: &str, state: PluginState) -> PluginInstanceView {
    let ready = state == PluginState::Ready;
    PluginInstanceView {
        agent: AgentName::new(agent).unwrap(),
        state,
        since: ago(9),
        restarts: 0,
        facts: ready.then(|| PluginFactsView {
            driver_name: "hostpath.csi.k8s.io".to_owned(),
            vendor_version: "v1.17.0".to_owned(),
            capabilities: vec![
                "CREATE_DELETE_VOLUME".to_owned(),
                "EXPAND_VOLUME".to_owned(),
            ],
            node_id: agent.to_owned(),
            max_volumes: 0,
            topology: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        }),
        problem: None,
        log_tail: Vec::new(),
        retry_at: None,
        free: ready
            .then(|| ("local".parse().unwrap(), Bytes(182 << 30)))
            .into_iter()
            .collect(),
        image_digest: Some("sha256:0123".to_owned()),
        progress: None,
    }
}

pub fn broken_instance(agent: &str) -> PluginInstanceView {
    let what = "the container exited with status 1 before its socket appeared";
    PluginInstanceView {
        problem: Some(Problem::new(ErrorKind::Unavailable, what)),
        log_tail: vec!["flag provided but not defined: -endpont".to_owned()],
        restarts: 2,
        retry_at: Some(now()),
        ..instance(agent, PluginState::BackingOff)
    }
}

pub fn plugin(instances: Vec<PluginInstanceView>) -> PluginView {
    let name = PluginName::new("hostpath").unwrap();
    let mut definition = PluginDefinition::of_image("registry.example.org/hostpathplugin:v1.17.0");
    definition.name = Some(name.clone());
    let classes = vec![ClassName::new("hostpath").unwrap()];
    PluginView {
        name,
        generation: 1,
        definition,
        removing: false,
        classes,
        instances,
        volumes: 3,
    }
}

pub fn class() -> ClassView {
    ClassView {
        name: ClassName::new("local").unwrap(),
        plugin: PluginName::new("local").unwrap(),
        parameters: BTreeMap::new(),
        fs_type: None,
        default: true,
        free: BTreeMap::from([("web-1".to_owned(), Bytes(182 << 30))]),
        ready_on: vec![AgentName::new("web-1").unwrap()],
    }
}

pub fn agent(name: &str, connected: bool) -> AgentView {
    AgentView {
        name: AgentName::new(name).unwrap(),
        agent_id: UUID.parse::<AgentId>().unwrap(),
        connected,
        since: ago(300),
        version: "0.1.0".to_owned(),
        cpus: 2.0,
        memory: Bytes(4 << 30),
        tasks: 1,
        volumes: 2,
        problem: None,
    }
}
