//! A request to run a task: checked, its volumes resolved, a node chosen.

use std::collections::BTreeSet;

use sutler_api::task::{RunTaskRequest, TaskSpec, TaskVolume, TaskVolumeRequest};
use sutler_api::volume::{AccessType, VolumeSpec};
use sutler_ids::{AgentId, AgentName, TaskId, TaskInstance, VolumeName};
use sutler_ids::{Bytes, ErrorKind, Problem};
use uuid::Uuid;

use crate::books::{Books, Turn};
use crate::definition::Class;
use crate::places::check_fits;
use crate::record::{AgentRecord, Change, TaskRecord, VolumePhase, VolumeRecord};
use crate::step::Reply;
use crate::volumes::NewVolume;

/// Volumes of one task: far above any known use, and a bound on what one request may make.
const VOLUMES_MAX: usize = 64;

/// Longest path inside a container (`PATH_MAX` without its NUL).
const PATH_BYTES_MAX: usize = 4095;

/// Longest image reference: above every registry's limit.
const IMAGE_BYTES_MAX: usize = 1024;

/// Least memory limit: below this the container runtime refuses to start any container.
const MEMORY_MIN: Bytes = Bytes::mib(6);

/// Least share of a core: one period of the kernel's smallest quota (1 ms of 100 ms).
const CPUS_MIN: f64 = 0.01;

/// How long a stop waits when the user does not say: as container tools commonly do.
const STOP_GRACE_MS: u64 = 10_000;

/// Longest wait of a stop: beyond an hour somebody mistook the unit.
const STOP_GRACE_MS_MAX: u64 = 60 * 60 * 1000;

/// One volume of a request, after the books were asked.
enum Resolved<'a> {
    Existing(&'a VolumeRecord),
    New { id: Uuid, size: Bytes },
}

impl Turn<'_> {
    pub(crate) fn run_task(&mut self, seed: Uuid, request: RunTaskRequest) -> Result<(), Problem> {
        check_request(&request)?;
        let task_id = self.books.task_id(seed, &request)?;
        let resolved = self.books.resolve(seed, &request.volumes)?;
        let agent_id = self.books.choose_agent(&request, &resolved)?;
        self.books.check_limits(&request, agent_id)?;
        let drafts = self.books.drafts(&request.volumes, &resolved, agent_id)?;
        let ids: Vec<_> = resolved
            .iter()
            .map(|resolved| match resolved {
                Resolved::Existing(volume) => volume.spec.volume_id,
                Resolved::New { id, .. } => sutler_ids::VolumeId::new(*id),
            })
            .collect();
        let volumes = request
            .volumes
            .into_iter()
            .zip(ids)
            .map(|(asked, volume_id)| TaskVolume {
                volume_id,
                name: asked.name,
                path: asked.path,
                read_only: asked.read_only,
            });
        let spec = TaskSpec {
            task_id: task_id.clone(),
            instance: TaskInstance::new(seed),
            image: request.image,
            command: request.command,
            env: request.env,
            volumes: volumes.collect(),
            cpus: request.cpus,
            memory: request.memory,
            stop_grace_ms: request.stop_grace_ms.unwrap_or(STOP_GRACE_MS),
            pull_always: request.pull_always,
        };
        for draft in drafts {
            self.accept_volume(draft, agent_id);
        }
        self.persist(Change::Task(TaskRecord {
            spec,
            agent_id,
            created_at: self.now.wall,
            stop: false,
            started_at: None,
            end: None,
        }));
        self.send_task(&task_id);
        self.reply(Reply::Task(task_id));
        Ok(())
    }
}

impl Books {
    fn task_id(&self, seed: Uuid, request: &RunTaskRequest) -> Result<TaskId, Problem> {
        if let Some(id) = &request.task_id {
            return match self.durable.tasks.contains_key(id) {
                false => Ok(id.clone()),
                true => {
                    Err(conflict(format!("a task called {id} exists"))
                        .hint("give another id, or none"))
                }
            };
        }
        let hex = seed.simple().to_string();
        let short = TaskId::new(format!("{}-{}", image_word(&request.image), &hex[..8]));
        match short {
            Ok(id) if !self.durable.tasks.contains_key(&id) => Ok(id),
            Ok(_) | Err(_) => Ok(TaskId::new(hex).expect("hexadecimal digits make a name")),
        }
    }

    fn resolve(
        &self,
        seed: Uuid,
        asked: &[TaskVolumeRequest],
    ) -> Result<Vec<Resolved<'_>>, Problem> {
        let resolve = |(index, asked): (usize, &TaskVolumeRequest)| {
            if let Some(volume) = self.volume_by_name(&asked.name) {
                self.check_usable(asked, volume)?;
                return Ok(Resolved::Existing(volume));
            }
            if let Some(unknown) = self.unknown_called(&asked.name) {
                return Err(self.not_in_the_books(unknown));
            }
            let Some(size) = asked.size else {
                let name = &asked.name;
                return Err(Problem::new(
                    ErrorKind::NotFound,
                    format!("no volume is called {name}"),
                )
                .hint(format!(
                    "give a size to make it on the way: -v {name}:1G:{}",
                    asked.path
                )));
            };
            let index = u32::try_from(index).expect("at most VOLUMES_MAX volumes");
            Ok(Resolved::New {
                id: Uuid::new_v5(&seed, &index.to_be_bytes()),
                size,
            })
        };
        asked.iter().enumerate().map(resolve).collect()
    }

    fn check_usable(
        &self,
        asked: &TaskVolumeRequest,
        volume: &VolumeRecord,
    ) -> Result<(), Problem> {
        let name = &asked.name;
        match &volume.phase {
            VolumePhase::Creating | VolumePhase::Live { .. } => {}
            VolumePhase::Trashed { until_ms, .. } => {
                let until = self.shown(*until_ms);
                let what = format!("volume {name} is in the trash until {until}");
                return Err(conflict(what).hint(format!("sutler volume restore {name}")));
            }
            VolumePhase::Deleting { .. } => {
                return Err(conflict(format!("volume {name} is being deleted"))
                    .hint(format!("sutler volume why {name}")));
            }
            VolumePhase::Failed { .. } => {
                return Err(conflict(format!("volume {name} could not be created"))
                    .hint(format!("sutler volume why {name}")));
            }
        }
        let present = self.volume_capacity(volume);
        if asked.size.is_some_and(|size| size > present) {
            return Err(conflict(format!(
                "volume {name} exists with {present}, less than asked for"
            ))
            .hint(format!("sutler volume grow {name} --size SIZE")));
        }
        if let Some(class) = asked
            .class
            .as_ref()
            .filter(|class| **class != volume.spec.class)
        {
            let what = format!(
                "volume {name} exists in class {}, not {class}",
                volume.spec.class
            );
            return Err(conflict(what).hint("name no class, or another volume"));
        }
        if asked.read_only {
            return Ok(());
        }
        let writes = |task: &&TaskRecord| {
            let id = volume.spec.volume_id;
            task.spec
                .volumes
                .iter()
                .any(|v| v.volume_id == id && !v.read_only)
        };
        match self.holders_of(volume.spec.volume_id).find(writes) {
            None => Ok(()),
            Some(writer) => {
                let id = &writer.spec.task_id;
                let agent = self.agent_name(writer.agent_id);
                Err(conflict(format!(
                    "volume {name} is held by task {id} on node {agent}"
                ))
                .hint(format!(
                    "sutler task stop {id}, or mount it read only with :ro"
                )))
            }
        }
    }

    fn choose_agent(
        &self,
        request: &RunTaskRequest,
        resolved: &[Resolved<'_>],
    ) -> Result<AgentId, Problem> {
        let mut owner: Option<&VolumeRecord> = None;
        for resolved in resolved {
            let Resolved::Existing(volume) = resolved else {
                continue;
            };
            match owner {
                Some(first) if first.agent_id != volume.agent_id => {
                    return Err(conflict(format!(
                        "the volumes are on different nodes: {} on {}, {} on {}",
                        first.spec.name,
                        self.agent_name(first.agent_id),
                        volume.spec.name,
                        self.agent_name(volume.agent_id)
                    )));
                }
                Some(_) | None => owner = owner.or(Some(volume)),
            }
        }
        match (owner, &request.agent) {
            (Some(volume), Some(wanted)) if self.agent_name(volume.agent_id) != *wanted => {
                self.agent_called(wanted)?;
                let agent = self.agent_name(volume.agent_id);
                let name = &volume.spec.name;
                Err(conflict(format!(
                    "volume {name} is on node {agent}, not {wanted}"
                )))
            }
            (Some(volume), _) => Ok(volume.agent_id),
            (None, Some(wanted)) => Ok(self.agent_called(wanted)?.agent_id),
            (None, None) => self.least_busy(&request.volumes),
        }
    }

    /// Chooses among the connected nodes that can make all of the volumes.
    fn least_busy(&self, volumes: &[TaskVolumeRequest]) -> Result<AgentId, Problem> {
        let mut classes = Vec::new();
        for volume in volumes {
            classes.push((self.class(volume.class.as_ref())?, volume.size));
        }
        let fits = |agent: &&AgentRecord| {
            self.connected(agent.agent_id)
                && classes.iter().all(|(class, size)| {
                    let ready = self.readiness(class.plugin, agent.agent_id);
                    ready.is_ok_and(|instance| {
                        let size = size.unwrap_or_default();
                        check_fits(&class.name, size, instance, &agent.name).is_ok()
                    })
                })
        };
        let agents = self.durable.agents.values().filter(fits);
        let least = agents.min_by_key(|agent| (self.tasks_on(agent.agent_id), &agent.name));
        if let Some(agent) = least {
            return Ok(agent.agent_id);
        }
        for (class, size) in &classes {
            self.place_volume(class, size.unwrap_or_default(), None)?;
        }
        let what = match classes.is_empty() {
            true => "no node is connected",
            false => "no one node can make all of the volumes",
        };
        Err(Problem::new(ErrorKind::Unavailable, what).hint("sutler node ls"))
    }

    fn check_limits(&self, request: &RunTaskRequest, agent_id: AgentId) -> Result<(), Problem> {
        let Some(agent) = self.durable.agents.get(&agent_id) else {
            return Ok(());
        };
        let exhausted = |what| Err(Problem::new(ErrorKind::Exhausted, what).hint("sutler node ls"));
        if let Some(cpus) = request.cpus.filter(|cpus| *cpus > agent.cpus) {
            let has = agent.cpus;
            return exhausted(format!("node {} has {has} cores, not {cpus}", agent.name));
        }
        if let Some(memory) = request.memory.filter(|memory| *memory > agent.memory) {
            let has = agent.memory;
            return exhausted(format!(
                "node {} has {has} of memory, not {memory}",
                agent.name
            ));
        }
        Ok(())
    }

    fn drafts(
        &self,
        asked: &[TaskVolumeRequest],
        resolved: &[Resolved<'_>],
        agent_id: AgentId,
    ) -> Result<Vec<VolumeSpec>, Problem> {
        let agent: AgentName = self.agent_name(agent_id);
        let mut drafts = Vec::new();
        for (asked, resolved) in asked.iter().zip(resolved) {
            let Resolved::New { id, size } = resolved else {
                continue;
            };
            let new = NewVolume {
                name: &asked.name,
                class: asked.class.as_ref(),
                size: *size,
                access: AccessType::Mount,
                fs_type: None,
            };
            let place = |class: &Class<'_>| self.place_volume(class, *size, Some(&agent));
            drafts.push(self.draft_volume(*id, &new, place)?.0);
        }
        Ok(drafts)
    }
}

fn check_request(request: &RunTaskRequest) -> Result<(), Problem> {
    let image = &request.image;
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if image.is_empty() || image.len() > IMAGE_BYTES_MAX || image.contains(odd) {
        return invalid(format!("{image:?} is not an image reference"));
    }
    if let Some(cpus) = request.cpus
        && !(cpus.is_finite() && cpus >= CPUS_MIN)
    {
        return invalid(format!(
            "a task cannot have {cpus} cores; the least is {CPUS_MIN}"
        ));
    }
    if let Some(memory) = request.memory.filter(|memory| *memory < MEMORY_MIN) {
        return invalid(format!(
            "a task cannot run in {memory} of memory; the least is {MEMORY_MIN}"
        ));
    }
    if let Some(ms) = request.stop_grace_ms.filter(|ms| *ms > STOP_GRACE_MS_MAX) {
        return invalid(format!(
            "a stop cannot wait for {ms} ms; the most is {STOP_GRACE_MS_MAX}"
        ));
    }
    let bad = |key: &&String| key.is_empty() || key.contains(['=', '\0']);
    if let Some(key) = request.env.keys().find(bad) {
        return invalid(format!(
            "{key:?} is not the name of an environment variable"
        ));
    }
    let texts = request.env.values().chain(&request.command);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return invalid("the command and the environment cannot hold a NUL byte".to_owned());
    }
    check_volumes(&request.volumes)
}

fn check_volumes(volumes: &[TaskVolumeRequest]) -> Result<(), Problem> {
    if volumes.len() > VOLUMES_MAX {
        return invalid(format!(
            "a task can have {VOLUMES_MAX} volumes, not {}",
            volumes.len()
        ));
    }
    let mut names: BTreeSet<&VolumeName> = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for volume in volumes {
        let (name, path) = (&volume.name, &volume.path);
        if !names.insert(name) {
            return invalid(format!("volume {name} is named twice for one task"));
        }
        let fault = if !path.starts_with('/') {
            "is not absolute"
        } else if path.len() > PATH_BYTES_MAX || path.contains('\0') {
            "is too long or holds a NUL byte"
        } else if path.split('/').any(|part| part == ".." || part == ".") {
            "holds . or .."
        } else if path.chars().all(|c| c == '/') {
            "is the container's root"
        } else {
            ""
        };
        if !fault.is_empty() {
            return invalid(format!("the path {path:?} of volume {name} {fault}"));
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if !paths.insert(parts) {
            return invalid(format!("two volumes have the path {path}"));
        }
    }
    Ok(())
}

/// Takes a readable word from an image reference: `busybox` of `docker.io/library/busybox:1`.
fn image_word(image: &str) -> String {
    let last = image
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let word = last.split(['@', ':']).next().unwrap_or_default();
    let word: String = word
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(24)
        .collect();
    if word.is_empty() {
        "task".to_owned()
    } else {
        word.to_ascii_lowercase()
    }
}

fn invalid<T>(what: String) -> Result<T, Problem> {
    Err(Problem::new(ErrorKind::Invalid, what))
}

fn conflict(what: String) -> Problem {
    Problem::new(ErrorKind::Conflict, what)
}
