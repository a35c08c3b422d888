//! The laws of the waiting line.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::*;

fn lanes(width: usize) -> Lanes {
    Lanes::new(LaneWidths::all(NonZeroUsize::new(width).expect("a width")))
}

type Entry = Pin<Box<dyn Future<Output = Result<LanePermit, LaneError>> + Send>>;

fn entry(lanes: &Lanes, lane: LaneKind, volume: &'static str) -> Entry {
    let lanes = lanes.clone();
    Box::pin(async move { lanes.enter(lane, volume).await })
}

/// Polls once: the line needs no runtime to move.
fn poll(entry: &mut Entry) -> Option<LanePermit> {
    match entry.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(permit) => Some(permit.expect("not full")),
        Poll::Pending => None,
    }
}

fn enter(lanes: &Lanes, lane: LaneKind, volume: &'static str) -> LanePermit {
    poll(&mut entry(lanes, lane, volume)).expect("goes at once")
}

fn status(lanes: &Lanes, lane: LaneKind) -> LaneStatus {
    lanes.status(Instant::now())[lane as usize]
}

#[test]
fn a_volume_has_one_call_in_flight_across_all_lanes() {
    let lanes = lanes(4);
    let first = enter(&lanes, LaneKind::Controller, "a");
    let mut second = entry(&lanes, LaneKind::Detach, "a");
    assert!(poll(&mut second).is_none());
    drop(first);
    assert!(poll(&mut second).is_some());
}

#[test]
fn a_lane_has_as_many_calls_in_flight_as_it_is_wide() {
    let lanes = lanes(2);
    let first = enter(&lanes, LaneKind::Attach, "a");
    let _second = enter(&lanes, LaneKind::Attach, "b");
    let mut third = entry(&lanes, LaneKind::Attach, "c");
    assert!(poll(&mut third).is_none());
    assert_eq!(status(&lanes, LaneKind::Attach).in_flight, 2);
    assert_eq!(status(&lanes, LaneKind::Attach).waiting, 1);
    drop(first);
    assert!(poll(&mut third).is_some());
}

#[test]
fn a_full_attach_lane_never_delays_a_detach() {
    let lanes = lanes(1);
    let _attach = enter(&lanes, LaneKind::Attach, "a");
    let mut waiting = entry(&lanes, LaneKind::Attach, "b");
    assert!(poll(&mut waiting).is_none());
    let _detach = enter(&lanes, LaneKind::Detach, "c");
}

#[test]
fn a_lane_is_first_come_first_served() {
    let lanes = lanes(1);
    let first = enter(&lanes, LaneKind::Controller, "a");
    let mut second = entry(&lanes, LaneKind::Controller, "b");
    let mut third = entry(&lanes, LaneKind::Controller, "c");
    assert!(poll(&mut second).is_none());
    assert!(poll(&mut third).is_none());
    drop(first);
    assert!(poll(&mut third).is_none(), "the third passed the second");
    let second = poll(&mut second).expect("the second goes");
    drop(second);
    assert!(poll(&mut third).is_some());
}

#[test]
fn a_call_for_a_busy_volume_is_passed_and_keeps_its_turn() {
    let lanes = lanes(2);
    let busy = enter(&lanes, LaneKind::Controller, "a");
    let mut same = entry(&lanes, LaneKind::Controller, "a");
    assert!(poll(&mut same).is_none());
    let other = enter(&lanes, LaneKind::Controller, "b");
    let mut late = entry(&lanes, LaneKind::Controller, "c");
    assert!(poll(&mut late).is_none());
    drop(busy);
    assert!(poll(&mut late).is_none(), "the newcomer took the turn");
    assert!(poll(&mut same).is_some());
    drop(other);
    assert!(poll(&mut late).is_some());
}

#[test]
fn the_calls_of_a_volume_keep_their_order_across_lanes() {
    let lanes = lanes(1);
    let _full = enter(&lanes, LaneKind::Attach, "other");
    let mut attach = entry(&lanes, LaneKind::Attach, "a");
    assert!(poll(&mut attach).is_none());
    let mut detach = entry(&lanes, LaneKind::Detach, "a");
    assert!(
        poll(&mut detach).is_none(),
        "the detach passed the attach of its own volume"
    );
}

#[test]
fn leaving_the_line_frees_the_turn() {
    let lanes = lanes(1);
    let first = enter(&lanes, LaneKind::Controller, "a");
    let mut second = entry(&lanes, LaneKind::Controller, "b");
    let mut third = entry(&lanes, LaneKind::Controller, "c");
    assert!(poll(&mut second).is_none());
    assert!(poll(&mut third).is_none());
    drop(first);
    // Granted, never looked at, dropped.
    drop(second);
    assert!(poll(&mut third).is_some());

    let mut waiting = entry(&lanes, LaneKind::Detach, "d");
    let holder = enter(&lanes, LaneKind::Detach, "e");
    assert!(poll(&mut waiting).is_none());
    drop(waiting);
    drop(holder);
    assert_eq!(status(&lanes, LaneKind::Detach).waiting, 0);
    assert_eq!(status(&lanes, LaneKind::Detach).in_flight, 0);
}

#[test]
fn the_age_is_that_of_the_oldest_that_waits() {
    let lanes = lanes(1);
    assert_eq!(status(&lanes, LaneKind::Attach).oldest_age, Duration::ZERO);
    let _first = enter(&lanes, LaneKind::Attach, "a");
    let mut second = entry(&lanes, LaneKind::Attach, "b");
    assert!(poll(&mut second).is_none());
    let after = Instant::now();
    let mut third = entry(&lanes, LaneKind::Attach, "c");
    assert!(poll(&mut third).is_none());
    let later = after + Duration::from_secs(60);
    let now = lanes.status(later)[LaneKind::Attach as usize];
    assert!(now.oldest_age >= Duration::from_secs(60), "{now:?}");
    assert_eq!((now.waiting, now.in_flight, now.width), (2, 1, 1));
}

#[test]
fn a_full_line_refuses() {
    let lanes = lanes(1);
    let _holder = enter(&lanes, LaneKind::Attach, "a");
    let mut waiting = Vec::new();
    for _ in 0..WAITING_MAX {
        let mut entry = entry(&lanes, LaneKind::Attach, "b");
        assert!(poll(&mut entry).is_none());
        waiting.push(entry);
    }
    let refused = pin!(lanes.enter(LaneKind::Attach, "c"));
    let poll = refused.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Ready(Err(LaneError::Full))));
}

#[tokio::test]
async fn every_call_of_a_crowd_goes_and_the_bounds_hold() {
    let lanes = lanes(3);
    let mut crowd = tokio::task::JoinSet::new();
    for turn in 0..300_usize {
        let lanes = lanes.clone();
        crowd.spawn(async move {
            let lane = LaneKind::ALL[turn % LaneKind::ALL.len()];
            let volume = format!("v{}", turn % 17);
            let permit = lanes.enter(lane, &volume).await.expect("not full");
            assert!(status(&lanes, lane).in_flight <= 3);
            tokio::task::yield_now().await;
            drop(permit);
        });
    }
    while let Some(end) = crowd.join_next().await {
        end.expect("no call failed");
    }
    for lane in LaneKind::ALL {
        assert_eq!(
            status(&lanes, lane).in_flight + status(&lanes, lane).waiting,
            0
        );
    }
}

#[test]
fn a_question_holds_no_lane_of_a_call_that_changes_something() {
    for rpc in [Rpc::Validate, Rpc::VolumeStats] {
        assert_eq!(LaneKind::of(rpc), Some(LaneKind::Read));
    }
    let changing = [
        Rpc::CreateVolume,
        Rpc::DeleteVolume,
        Rpc::ExpandController,
        Rpc::Attach,
        Rpc::Detach,
        Rpc::Stage,
        Rpc::Unstage,
        Rpc::Publish,
        Rpc::Unpublish,
        Rpc::ExpandNode,
    ];
    for rpc in changing {
        let lane = LaneKind::of(rpc);
        assert!(lane.is_some_and(|lane| lane != LaneKind::Read), "{rpc:?}");
    }
}
