//! Death at every durable write and every call, once and twice, and the way back.

use sutler_api::agent::{Outcome, VolumeAct, VolumeOperation};
use sutler_ids::Bytes;

use super::world::*;
use crate::*;

/// The master's side: wishes that it repeats until it has the outcome.
#[derive(Clone)]
enum Wish {
    Operation(VolumeOperation),
    Acquire(&'static str),
    Release(&'static str),
}

fn wishes() -> Vec<Wish> {
    vec![
        Wish::Operation(operation(1, VolumeAct::Create(spec()))),
        Wish::Acquire("a"),
        Wish::Operation(operation(
            2,
            VolumeAct::Grow {
                capacity: Bytes::mib(20),
            },
        )),
        Wish::Release("a"),
        Wish::Acquire("b"),
        Wish::Release("b"),
        Wish::Operation(operation(3, VolumeAct::Delete)),
    ]
}

fn grant(world: &mut World, wish: &Wish) -> Result<(), Died> {
    match wish.clone() {
        Wish::Operation(operation) => world.operate(operation),
        Wish::Acquire(name) => world.send(Event::Acquire {
            task_id: task(name),
            read_only: false,
        }),
        Wish::Release(name) => world.send(Event::Release {
            task_id: task(name),
        }),
    }
}

fn fulfilled(world: &World, wish: &Wish) -> bool {
    match wish {
        Wish::Operation(operation) => {
            world.outcomes.get(&operation.operation_uuid) == Some(&Outcome::Finished)
        }
        Wish::Acquire(name) => world.acquired.get(&task(name)) == Some(&Ok(())),
        Wish::Release(name) => world.released.contains(&task(name)),
    }
}

/// Runs the whole life, dying at the given places counted from the last start.
fn live_through(abilities: Abilities, mut deaths: Vec<u32>) -> World {
    let mut world = World::new(abilities);
    deaths.reverse();
    world.dies_after = deaths.pop();
    for wish in wishes() {
        for attempt in 0.. {
            assert!(
                attempt < 10,
                "a wish is not fulfilled: trail {:?}",
                world.trail
            );
            if grant(&mut world, &wish).is_ok() {
                if fulfilled(&world, &wish) {
                    break;
                }
            } else {
                while come_back(&mut world, &mut deaths).is_err() {}
            }
        }
        world.check();
    }
    world
}

fn come_back(world: &mut World, deaths: &mut Vec<u32>) -> Result<(), Died> {
    world.places = 0;
    world.dies_after = deaths.pop();
    world.restart()
}

fn places_of(abilities: Abilities) -> u32 {
    let world = live_through(abilities, Vec::new());
    assert!(world.backend.volumes.is_empty());
    world.places
}

#[test]
fn death_at_every_place_loses_nothing_and_leaks_nothing() {
    for abilities in [
        ALL,
        NONE,
        Abilities {
            attaches: false,
            ..ALL
        },
    ] {
        let can_grow = abilities.expands_controller;
        if !can_grow {
            continue;
        }
        let places = places_of(abilities);
        assert!(
            places > 50,
            "the life is shorter than it should be: {places}"
        );
        for place in 0..places {
            let world = live_through(abilities, vec![place]);
            assert!(world.backend.volumes.is_empty(), "place {place} leaks");
            assert!(
                world.backend.creations <= 1,
                "place {place} makes a second volume"
            );
        }
    }
}

#[test]
fn death_again_while_coming_back_loses_nothing_and_leaks_nothing() {
    let places = places_of(ALL);
    for place in 0..places {
        for second in 0..6 {
            let world = live_through(ALL, vec![place, second]);
            assert!(
                world.backend.volumes.is_empty(),
                "places {place}, {second} leak"
            );
            assert!(world.backend.creations <= 1);
        }
    }
}
