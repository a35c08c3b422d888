//! What containers write, and how it is kept and read.

use std::fs;

use futures::StreamExt;
use sutler_runtime::{
    ContainerSpec, ExitStatus, LogError, LogLimits, LogQuery, LogStart, LogStream,
};

use crate::world::{PATIENCE, World, fifo, id};

#[tokio::test(flavor = "multi_thread")]
async fn the_two_outputs_are_kept_apart() {
    let world = World::new();
    world
        .run(&world.sh("c", "echo out; echo err >&2; echo out2"))
        .await;
    assert_eq!(world.log("c", LogStream::Stdout).await, "out\nout2\n");
    assert_eq!(world.log("c", LogStream::Stderr).await, "err\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_logs_are_bounded_and_end_with_the_newest_line() {
    let world = World::new();
    let log_limits = LogLimits {
        bytes_max: 64 << 10,
        files_max: 3,
    };
    world
        .run(&ContainerSpec {
            log_limits,
            ..world.spec("c", &["seq", "1", "200000"])
        })
        .await;
    let folder = world.containers.folder(&id("c"));
    let logs = fs::read_dir(folder).expect("listed").flatten();
    let logs = logs.filter(|e| e.file_name().to_string_lossy().starts_with("stdout.log"));
    let sizes: Vec<u64> = logs.map(|e| e.metadata().expect("there").len()).collect();
    assert!(
        sizes.len() == 3 && sizes.iter().all(|size| *size <= 64 << 10),
        "{sizes:?}"
    );
    let last = world
        .containers
        .tail(&id("c"), LogStream::Stdout, 2)
        .await
        .expect("readable");
    assert_eq!(last, ["199999", "200000"]);
    let query = LogQuery {
        stream: LogStream::Stdout,
        start: LogStart::TailLines(3),
        follow: false,
    };
    let chunks = world
        .containers
        .read_logs(&id("c"), query)
        .await
        .expect("readable");
    let bytes: Vec<_> = chunks.map(|c| c.expect("readable").bytes).collect().await;
    assert_eq!(bytes.concat(), b"199998\n199999\n200000\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_gives_every_byte_across_rotations_and_ends_with_the_container() {
    let world = World::new();
    let gate = world.folder("gate");
    fifo(&gate.join("go"));
    let log_limits = LogLimits {
        bytes_max: 8 << 10,
        files_max: 1000,
    };
    let mut spec = world.sh("c", "echo first; cat /gate/go; seq 1 60000; exit 4");
    spec.log_limits = log_limits;
    spec.mounts
        .push(sutler_runtime::MountSpec::bind(&gate, "/gate"));
    world.start(&spec).await;
    let query = LogQuery {
        stream: LogStream::Stdout,
        start: LogStart::Oldest,
        follow: true,
    };
    let chunks = world
        .containers
        .read_logs(&id("c"), query)
        .await
        .expect("readable");
    let mut chunks = Box::pin(chunks);
    let first = tokio::time::timeout(PATIENCE, chunks.next())
        .await
        .expect("in time");
    assert_eq!(first.expect("running").expect("readable").bytes, "first\n");
    // Nothing more is there yet: the stream waits and does not end.
    let waits = tokio::time::timeout(std::time::Duration::from_millis(50), chunks.next()).await;
    assert!(waits.is_err(), "it gave {waits:?}");
    let opener = gate.join("go");
    tokio::task::spawn_blocking(move || fs::write(opener, ""))
        .await
        .expect("ran")
        .expect("open");
    let mut all = Vec::new();
    let mut offset = 6;
    while let Some(chunk) = tokio::time::timeout(PATIENCE, chunks.next())
        .await
        .expect("in time")
    {
        let chunk = chunk.expect("readable");
        assert_eq!(chunk.offset, offset, "a gap or a repeat");
        offset += chunk.bytes.len() as u64;
        all.extend_from_slice(&chunk.bytes);
    }
    let expected: String = (1..=60_000).map(|n| format!("{n}\n")).collect();
    assert!(
        all == expected.as_bytes(),
        "{} of {} bytes",
        all.len(),
        expected.len()
    );
    assert_eq!(world.end("c").await.status, ExitStatus::Code(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_can_go_on_from_an_offset() {
    let world = World::new();
    world.run(&world.sh("c", "echo 0123456789")).await;
    let query = LogQuery {
        stream: LogStream::Stdout,
        start: LogStart::Offset(4),
        follow: true,
    };
    let chunks = world
        .containers
        .read_logs(&id("c"), query)
        .await
        .expect("readable");
    let chunks: Vec<_> = chunks.map(|c| c.expect("readable")).collect().await;
    assert_eq!(chunks.len(), 1);
    assert_eq!(
        (chunks[0].offset, &chunks[0].bytes[..]),
        (4, &b"456789\n"[..])
    );
    let absent = world
        .containers
        .tail(&id("other"), LogStream::Stdout, 1)
        .await;
    assert!(matches!(absent, Err(LogError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_output_but_neither_the_task_nor_its_exit_status() {
    let mut world = World::new();
    let disk = world.config.containers_dir.clone();
    fs::create_dir(&disk).expect("made");
    let size = Some(c"size=512k");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("x", &disk, "tmpfs", flags, size).expect("mounted");
    world.undo_mount(&disk);
    let spec = world.sh("c", "seq 1 300000; echo done >&2; exit 21");
    let record = world.run(&spec).await;
    assert_eq!(record.status, ExitStatus::Code(21));
    let kept = fs::metadata(world.containers.folder(&id("c")).join("stdout.log")).expect("there");
    let written: u64 = (1..=300_000u64)
        .map(|n| n.to_string().len() as u64 + 1)
        .sum();
    assert!(record.log_bytes_dropped > 0);
    assert_eq!(
        kept.len() + record.log_bytes_dropped,
        written + "done\n".len() as u64
    );
}
