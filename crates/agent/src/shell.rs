//! The shell, one loop: the one owner of tasks and plugins on this node.
//!
//! ```text
//!   wait for input ─► drain what else is there ─► cores ─► one commit ─► effects ─► reports
//!         ▲                                                                │
//!         └──────────────── the end of each effect is an event ◄───────────┘
//! ```
//!
//! Records of a turn are durable before its effects start and before anything of it is told.
//! When the journal fails the shell ends; whoever started it recovers another one from disk.

mod collect;
mod desired;
mod plugins;
mod recover;
mod tasks;
mod timers;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sutler_api::agent::{Update, VolumeReport};
use sutler_api::volume::VolumeSpec;
use sutler_host::clock;
use sutler_ids::{AgentId, PluginName, TaskId};
use sutler_ids::{Now, Problem};
use sutler_node_core::plugin::PluginEvent;
use sutler_node_core::task::{TaskEvent, VolumeAt};
use sutler_providers::storage::{StorageEvent, StorageHandle};
use sutler_store::CommitError;
use sutler_telemetry::failpoint;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use crate::caller::Request;
use crate::error::StartError;
use crate::event::{Event, Events};
use crate::ground::Ground;
use crate::journal::IdentityRecord;
use crate::link::{LinkEvent, LinkOrder};
use crate::queries::Queries;
use collect::Collector;
use plugins::PluginCell;
use tasks::TaskCell;
use timers::{Timers, Wake};
use turn::{Todo, Turn};

/// Most inputs of one turn: enough for one commit to serve a burst, few enough to answer soon.
const TURN_INPUTS_MAX: usize = 256;

/// How long effects under way may take to end before another shell repeats them; starts and
/// clean-ups take seconds, and what takes longer is found again by recovery.
const TEAR_DOWN_WITHIN: Duration = Duration::from_secs(20);

/// The same when the agent ends: whatever is cut off is taken up by the next start, and the
/// operator waits.
const SHUT_DOWN_WITHIN: Duration = Duration::from_secs(3);

/// Where a shell's inputs from outside come from; handed from one shell to the next.
pub(crate) struct Inbox {
    pub link: mpsc::Receiver<LinkEvent>,
    pub requests: mpsc::Receiver<Request>,
}

/// How a shell ended.
#[derive(Debug)]
pub(crate) enum ShellEnd {
    /// It was asked to.
    ShutDown,
    /// The journal failed: its memory is void.
    StoreFailed(CommitError),
    /// The agent cannot go on.
    Fatal(StartError),
}

/// The owner of everything on this node.
pub(crate) struct Shell {
    ground: Arc<Ground>,
    identity: Option<IdentityRecord>,
    storage: StorageHandle,
    storage_task: JoinHandle<()>,
    from_storage: mpsc::UnboundedReceiver<StorageEvent>,
    events: Events,
    from_effects: mpsc::UnboundedReceiver<Event>,
    work: JoinSet<()>,
    queries: Queries,
    tasks: BTreeMap<TaskId, TaskCell>,
    plugins: BTreeMap<PluginName, PluginCell>,
    timers: Timers,
    collector: Collector,
    /// What is wrong with the journal.
    problem: Option<Problem>,
    /// What is wrong at the storage provider that is no volume's own.
    storage_problem: Option<Problem>,
}

enum Input {
    Effect(Event),
    Storage(StorageEvent),
    Link(LinkEvent),
    Request(Request),
    Time,
}

/// Whether the loop goes on.
type Flow = Result<(), ShellEnd>;

impl Shell {
    /// Runs until it is asked to end or the journal fails.
    pub(crate) async fn run(mut self, inbox: &mut Inbox) -> ShellEnd {
        let end = loop {
            if let Err(end) = self.turn(inbox).await {
                break end;
            }
        };
        let bound = match end {
            ShellEnd::ShutDown => SHUT_DOWN_WITHIN,
            ShellEnd::StoreFailed(_) | ShellEnd::Fatal(_) => TEAR_DOWN_WITHIN,
        };
        self.tear_down(bound).await;
        end
    }

    async fn turn(&mut self, inbox: &mut Inbox) -> Flow {
        let mut turn = Turn::default();
        let first = self.next(inbox).await;
        self.apply(first, &mut turn)?;
        for _ in 1..TURN_INPUTS_MAX {
            let Some(more) = self.next_now(inbox) else {
                break;
            };
            self.apply(more, &mut turn)?;
        }
        self.fire_timers(&mut turn);
        self.commit_and_act(turn).await
    }

    /// Waits for one input.
    async fn next(&mut self, inbox: &mut Inbox) -> Input {
        let wake = self.timers.next_instant();
        // Every arm is a queue's `recv` or a timer, which lose nothing when dropped. The senders
        // of effects and storage live in `self`, those of link and handle may be gone.
        tokio::select! {
            Some(event) = self.from_effects.recv() => Input::Effect(event),
            event = self.from_storage.recv() => Input::Storage(
                event.expect("the storage provider ends after its last word, or has panicked"),
            ),
            Some(event) = inbox.link.recv() => Input::Link(event),
            Some(request) = inbox.requests.recv() => Input::Request(request),
            () = tokio::time::sleep_until(wake) => Input::Time,
        }
    }

    /// Takes one input that is there already.
    fn next_now(&mut self, inbox: &mut Inbox) -> Option<Input> {
        if let Ok(event) = self.from_effects.try_recv() {
            return Some(Input::Effect(event));
        }
        if let Ok(event) = self.from_storage.try_recv() {
            return Some(Input::Storage(event));
        }
        inbox.link.try_recv().ok().map(Input::Link)
    }

    fn apply(&mut self, input: Input, turn: &mut Turn) -> Flow {
        match input {
            Input::Effect(event) => self.on_effect(event, turn),
            Input::Storage(event) => return self.on_storage(event, turn),
            Input::Link(event) => return self.on_link(event, turn),
            Input::Request(Request::ShutDown) => return Err(ShellEnd::ShutDown),
            Input::Request(Request::CollectGarbage(answer)) => self.collector.ask(answer),
            Input::Time => {}
        }
        Ok(())
    }

    fn on_effect(&mut self, event: Event, turn: &mut Turn) {
        match event {
            Event::Task(task_id, event) => self.task_event(&task_id, event, turn),
            Event::TaskPulled(task_id, result) => self.task_pulled(&task_id, result, turn),
            Event::Plugin(name, event) => self.plugin_event(&name, event, turn),
            Event::PluginPulled(name, run, result) => {
                self.plugin_pulled(&name, run, result, turn);
            }
            Event::PluginProbed(name, run, outcome, talk) => {
                if let (Some(cell), Some(talk)) = (self.plugins.get_mut(&name), talk)
                    && cell.machine.run() == run
                {
                    cell.talk = Some(talk);
                }
                self.plugin_event(&name, PluginEvent::Probed { run, outcome }, turn);
            }
            Event::Capacity(name, run, free) => self.on_capacity(&name, run, free, turn),
            Event::Collected(result) => self.on_collected(result, turn),
            Event::Done => {}
        }
    }

    fn on_storage(&mut self, event: StorageEvent, turn: &mut Turn) -> Flow {
        match event {
            StorageEvent::Operation(report) => {
                self.capacity_soon();
                turn.tell.push(Update::Operation(report));
            }
            StorageEvent::Volume(report) => {
                self.fail_holders_of(&report, turn);
                turn.tell.push(Update::Volume(report));
            }
            StorageEvent::VolumeAgain(report) => {
                self.fail_holders_of(&report, turn);
                turn.again.insert(turn.tell.len());
                turn.tell.push(Update::Volume(report));
            }
            StorageEvent::Compared => turn.tell.push(Update::VolumesCompared),
            StorageEvent::Unknown(spec, report) => turn.tell.push(unknown(*spec, *report)),
            StorageEvent::Acquired {
                volume_id,
                task_id,
                result,
            } => {
                let result = result.map(|published| VolumeAt {
                    plugin: published.plugin,
                    path: published.path.to_string_lossy().into_owned(),
                    access: published.access,
                });
                self.task_event(&task_id, TaskEvent::Acquired { volume_id, result }, turn);
            }
            StorageEvent::Released { volume_id, task_id } => {
                self.task_event(&task_id, TaskEvent::Released { volume_id }, turn);
            }
            StorageEvent::Problem(problem) => {
                self.storage_problem = problem;
                turn.tell.push(self.own_state());
            }
            StorageEvent::Failed(error) => return Err(ShellEnd::StoreFailed(error)),
        }
        Ok(())
    }

    fn fire_timers(&mut self, turn: &mut Turn) {
        for wake in self.timers.take_due() {
            match wake {
                Wake::Task(task_id) => self.task_event(&task_id, TaskEvent::Tick, turn),
                Wake::Plugin(name) => self.plugin_event(&name, PluginEvent::Tick, turn),
                Wake::Capacity => self.ask_capacities(turn),
                Wake::Collect => self.collector.due(),
            }
        }
    }

    /// Writes the turn's records, then acts, then tells.
    async fn commit_and_act(&mut self, turn: Turn) -> Flow {
        let (pages, rest) = turn.split();
        let (batch, names) = pages.take();
        if !batch.is_empty() {
            names
                .iter()
                .for_each(|name| failpoint::hit(&format!("{name}.before")));
            self.ground
                .store
                .commit(batch)
                .await
                .map_err(ShellEnd::StoreFailed)?;
            names
                .iter()
                .for_each(|name| failpoint::hit(&format!("{name}.after")));
        }
        for todo in rest.todo {
            match todo {
                Todo::Task(task_id, effect) => self.act_for_task(task_id, effect),
                Todo::Plugin(name, effect) => self.act_for_plugin(name, effect),
                Todo::Capacity(name) => self.ask_capacity(name),
            }
        }
        for done in rest.recorded {
            // A link that went away meanwhile registers again.
            let _ = done.send(());
        }
        self.tell_in_order(rest.tell, &rest.again);
        self.tell_tasks(&rest.tasks);
        self.tell_plugins(&rest.plugins);
        self.collect_if_asked();
        self.reap();
        Ok(())
    }

    /// Tells a turn's news, and what was told before, as they have come.
    fn tell_in_order(&self, updates: Vec<Update>, again: &BTreeSet<usize>) {
        for (place, update) in updates.into_iter().enumerate() {
            let update = Box::new(update);
            let order = match again.contains(&place) {
                true => LinkOrder::TellAgain(update),
                false => LinkOrder::Tell(update),
            };
            // As in `tell`.
            let _ = self.ground.link.send(order);
        }
    }

    fn tell(&self, updates: Vec<Update>) {
        for update in updates {
            // The link outlives every shell; it is gone only when the agent ends.
            let _ = self.ground.link.send(LinkOrder::Tell(Box::new(update)));
        }
    }

    /// Starts an effect whose end is an event.
    fn spawn(
        &mut self,
        name: String,
        work: impl Future<Output = Event> + Send + 'static,
    ) -> AbortHandle {
        let events = self.events.clone();
        self.work.spawn(async move {
            failpoint::hit(&format!("{name}.before"));
            let event = work.await;
            failpoint::hit(&format!("{name}.after"));
            // A shell that is torn down reads no more; recovery finds what this did.
            let _ = events.send(event);
        })
    }

    /// Lets finished effects go; a panic in one is a broken invariant and ends the agent.
    fn reap(&mut self) {
        while let Some(ended) = self.work.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.queries.reap();
    }

    /// Lets what is under way come to an end, within bounds. Containers run on.
    async fn tear_down(mut self, bound: Duration) {
        self.queries.abort();
        for cell in self.tasks.values() {
            cell.abort_waits();
        }
        for cell in self.plugins.values() {
            cell.abort_waits();
        }
        let rest = async { while self.work.join_next().await.is_some() {} };
        if tokio::time::timeout(bound, rest).await.is_err() {
            tracing::warn!(
                left = self.work.len(),
                "effects did not end in time, left behind"
            );
            self.work.abort_all();
        }
        self.storage_task.abort();
        // Ended either way; it holds nothing that is not on disk.
        let _ = self.storage_task.await;
    }

    /// Gives this node's identity, if a master has admitted it before.
    pub(crate) fn agent_id(&self) -> Option<AgentId> {
        self.identity.map(|identity| identity.agent_id)
    }

    fn now() -> Now {
        clock::now()
    }
}

fn unknown(spec: VolumeSpec, report: VolumeReport) -> Update {
    Update::UnknownVolume { spec, report }
}
