//! What containers see of the host's files, and the host of theirs.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use sutler_runtime::{
    ContainerSpec, ExitStatus, MountSpec, Propagation, ensure_shared_mount, remove_shared_mount,
};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn bind_mounts_are_the_hosts_files_and_read_only_holds() {
    let world = World::new();
    let folder = world.folder("data");
    fs::write(folder.join("in"), "from outside\n").expect("written");
    let mut spec = world.sh(
        "c",
        "cat /rw/in; echo inside > /rw/out; echo x > /ro/x || exit 30",
    );
    spec.mounts = vec![
        MountSpec::bind(&folder, "/rw"),
        MountSpec {
            read_only: true,
            ..MountSpec::bind(&folder, "/ro")
        },
    ];
    assert_eq!(world.run(&spec).await.status, ExitStatus::Code(30));
    assert_eq!(world.stdout("c").await, "from outside\n");
    assert_eq!(
        fs::read_to_string(folder.join("out")).expect("written"),
        "inside\n"
    );
    assert!(!folder.join("x").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_made_in_a_shared_folder_shows_on_the_host() {
    let mut world = World::new();
    let folder = world.folder("shared");
    world.undo_shared(&folder);
    ensure_shared_mount(&folder).expect("made shared");
    ensure_shared_mount(&folder).expect("repeatable");
    fs::create_dir(folder.join("in")).expect("made");
    world.undo_mount(&folder.join("in"));
    let script = "mount -t tmpfs x /shared/in && echo data > /shared/in/f && echo ready; \
                  sleep 1000";
    let mut spec = ContainerSpec {
        privileged: true,
        ..world.sh("c", script)
    };
    let shared = MountSpec::bind(&folder, "/shared");
    spec.mounts = vec![MountSpec {
        propagation: Propagation::RShared,
        ..shared
    }];
    world.start(&spec).await;
    world.wait_for("c", "ready").await;
    assert_eq!(
        fs::read_to_string(folder.join("in/f")).expect("seen from outside"),
        "data\n"
    );
    // What a plugin mounted must stay when the plugin goes.
    world.remove("c").await;
    assert_eq!(
        fs::read_to_string(folder.join("in/f")).expect("still there"),
        "data\n"
    );
    let in_use = remove_shared_mount(&folder);
    assert!(
        in_use.is_err(),
        "a mount with another below it was taken away"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_made_on_the_host_shows_in_a_slave_folder_only() {
    let mut world = World::new();
    let folder = world.folder("shared");
    world.undo_shared(&folder);
    ensure_shared_mount(&folder).expect("made shared");
    fs::create_dir(folder.join("in")).expect("made");
    let gate = world.folder("gate");
    crate::world::fifo(&gate.join("go"));
    let script = "echo ready; cat /gate/go; cat /slave/in/f; ls /private/in";
    let mut spec = world.sh("c", script);
    let slave = MountSpec::bind(&folder, "/slave");
    spec.mounts = vec![
        MountSpec {
            propagation: Propagation::RSlave,
            ..slave
        },
        MountSpec::bind(&folder, "/private"),
        MountSpec::bind(&gate, "/gate"),
    ];
    world.start(&spec).await;
    world.wait_for("c", "ready").await;
    let inside = folder.join("in");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("x", &inside, "tmpfs", flags, None).expect("mounted");
    world.undo_mount(&inside);
    fs::write(inside.join("f"), "later\n").expect("written");
    fs::write(gate.join("go"), "").expect("opened the gate");
    assert_eq!(world.end("c").await.status, ExitStatus::Code(0));
    assert_eq!(world.stdout("c").await, "ready\nlater\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_dev_can_be_given_and_stays_unharmed() {
    let world = World::new();
    let before = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let mut spec = world.sh("c", "test -c /dev/loop-control && echo x > /dev/null");
    spec.privileged = true;
    spec.mounts = vec![MountSpec::bind("/dev", "/dev")];
    let record = world.run(&spec).await;
    assert_eq!(
        record.status,
        ExitStatus::Code(0),
        "{}",
        world.log_of_errors("c").await
    );
    let after = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    // The fifth field is the mount point; others mount what lies on `/dev/…` meanwhile.
    let dev = |table: &str| -> Vec<String> {
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let ours = points.filter(|point| Path::new(point).starts_with("/dev"));
        ours.map(str::to_owned).collect()
    };
    assert_eq!(
        dev(&before),
        dev(&after),
        "mounts were left on the host's /dev"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_in_the_hosts_network_sees_its_interfaces_and_names() {
    let world = World::new();
    let script = "ls /sys/class/net; cat /etc/hosts";
    world
        .run(&ContainerSpec {
            host_network: true,
            ..world.sh("c", script)
        })
        .await;
    let seen = world.stdout("c").await;
    let mut names: Vec<_> = fs::read_dir("/sys/class/net")
        .expect("listed")
        .flatten()
        .collect();
    names.retain(|entry| !seen.contains(entry.file_name().to_str().expect("ASCII")));
    assert!(names.is_empty(), "not seen: {names:?} in {seen}");
    assert!(seen.contains(fs::read_to_string("/etc/hosts").expect("readable").trim()));
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_sockets_are_refused_in_the_hosts_network_only() {
    let world = World::new();
    let mut said = Vec::new();
    for (name, host_network) in [("host", true), ("own", false)] {
        let spec = ContainerSpec {
            host_network,
            ..world.sh(name, "arping -c 1 -w 1 -I lo 127.0.0.1 2>&1")
        };
        world.run(&spec).await;
        said.push(world.stdout(name).await);
    }
    assert!(
        said[0].contains("socket: Operation not permitted"),
        "{}",
        said[0]
    );
    // The socket is there; it is the interface that does not fit.
    assert!(!said[1].contains("not permitted"), "{}", said[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn abstract_sockets_of_the_host_are_out_of_reach_but_for_the_privileged() {
    // The kernel tells which of Landlock's versions it has. The lab's has an older one, and no
    // perl beside it.
    if landlock_version() < 6 {
        println!("this kernel cannot scope abstract sockets: not tested here");
        return;
    }
    let name = format!("sutler-lifecycle-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address).expect("a new name");
    // Busybox has no client of unix sockets; every Debian has this perl.
    let script = format!(
        "exec /usr/bin/perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); \
         print connect(S, pack_sockaddr_un(\"\\0{name}\")) ? \"in\" : $!'"
    );
    let host = |of: &str, at: &str| MountSpec {
        read_only: true,
        ..MountSpec::bind(of, at)
    };
    let world = World::new();
    let mut said = Vec::new();
    for (id, privileged) in [("task", false), ("plugin", true)] {
        let spec = ContainerSpec {
            host_network: true,
            privileged,
            mounts: vec![
                host("/usr", "/usr"),
                host("/usr/lib", "/lib"),
                host("/usr/lib64", "/lib64"),
            ],
            ..world.sh(id, &script)
        };
        world.run(&spec).await;
        said.push(world.stdout(id).await);
    }
    assert_eq!(said, ["Operation not permitted", "in"]);
}

fn landlock_version() -> i64 {
    let of_version: libc::c_uint = 1;
    let nothing = std::ptr::null::<u8>();
    #[expect(unsafe_code, reason = "rustix has no landlock")]
    // SAFETY: with this flag the kernel reads nothing.
    unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0usize,
            of_version,
        )
    }
}
