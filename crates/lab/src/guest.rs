//! The emulated machine: started, listened to, cut off. It has two disks, two serial lines and
//! no network. The first line is the console, kept in a file; the second brings what the guest
//! reports, line by line. It ends with its [`Guest`]; one whose keeper was killed switches itself
//! off, for all that it does is bounded.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sutler_testkit::poll;

use super::kernel::Kernel;

/// Lines that wait to be read; the guest stands still when there are more.
const LINES_MAX: usize = 1024;

/// Longest time from the guest's last word to the end of its machine.
const OFF_WITHIN: Duration = Duration::from_secs(30);

/// Last lines of the console in a report.
const CONSOLE_LINES: usize = 30;

/// What machines are made of. Several may share all but the folder.
#[derive(Debug, Clone)]
pub(super) struct Parts<'a> {
    /// Boots it.
    pub(super) kernel: &'a Kernel,
    /// The first file system.
    pub(super) first: &'a Path,
    /// The root file system; never written.
    pub(super) root: &'a Path,
    /// One machine's own files.
    pub(super) folder: PathBuf,
}

impl Parts<'_> {
    /// The content of the disk that is written.
    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// Every write and flush of that disk, in order.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("disk.log")
    }

    /// What the kernel and the guest's programs complain about.
    fn console(&self) -> PathBuf {
        self.folder.join("console")
    }
}

/// A running machine.
#[derive(Debug)]
pub(super) struct Guest {
    child: Child,
    lines: Receiver<String>,
    console: PathBuf,
}

impl Guest {
    /// Starts a machine that runs one script of `/lab`, with a variable of its own.
    ///
    /// # Errors
    /// The emulator cannot be started.
    pub(super) fn start(parts: &Parts<'_>, script: &str, env: &str) -> Result<Self> {
        fs::write(parts.log(), "").context("begin the disk's log")?;
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-machine",
            "pc",
            "-cpu",
            "max",
        ]);
        qemu.args(["-smp", "2", "-m", "1536", "-nic", "none", "-nodefaults"]);
        qemu.args(["-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&parts.kernel.image);
        qemu.arg("-initrd").arg(parts.first);
        let line = "console=ttyS0 loglevel=4 panic=-1 mitigations=off";
        qemu.arg("-append")
            .arg(format!("{line} LAB_SCRIPT={script} {env}"));
        qemu.arg("-serial")
            .arg(format!("file:{}", parts.console().display()));
        qemu.args([
            "-chardev",
            "stdio,id=told,signal=off",
            "-serial",
            "chardev:told",
        ]);
        add_disks(&mut qemu, parts);
        qemu.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = qemu.spawn().context("start qemu-system-x86_64")?;
        let stdout = child.stdout.take().context("its output is ours")?;
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || forward(stdout, &sender));
        Ok(Self {
            child,
            lines,
            console: parts.console(),
        })
    }

    /// Gives the next line that the guest reports; `None` when the machine is off.
    ///
    /// # Errors
    /// It says nothing before the deadline; the text holds the console's last lines.
    pub(super) fn line(&self, deadline: Instant) -> Result<Option<String>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the guest does not end; its console:\n{}", self.console())
            }
        }
    }

    /// Ends the machine at once, as a power cut does: nothing that the guest holds in memory
    /// reaches its disk. Gives what it had still reported.
    pub(super) fn cut(mut self) -> Vec<String> {
        self.kill();
        self.lines.iter().collect()
    }

    /// Waits until the machine has switched itself off.
    ///
    /// # Errors
    /// It does not, or the emulator failed.
    pub(super) fn wait_off(mut self) -> Result<()> {
        let status = poll::until("the guest is off", OFF_WITHIN, || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it runs".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .with_context(|| self.console())?;
        if !status.success() {
            bail!("qemu-system-x86_64: {status}\n{}", self.console());
        }
        Ok(())
    }

    /// Gives the last lines of the console.
    pub(super) fn console(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(CONSOLE_LINES);
        let mut told = String::new();
        for line in &lines[from..] {
            writeln!(told, "  {}", line.trim_end()).expect("a string takes any text");
        }
        told
    }

    fn kill(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The root first, since the guest names disks in the order of their slots.
fn add_disks(qemu: &mut Command, parts: &Parts<'_>) {
    let file = |path: &Path| format!("driver=file,filename={}", path.display());
    let mut node = |text: String| {
        qemu.arg("-blockdev").arg(text);
    };
    node(format!(
        "{},node-name=root-file,read-only=on",
        file(parts.root)
    ));
    node("driver=raw,node-name=root,file=root-file,read-only=on".to_owned());
    node(format!("{},node-name=disk-file", file(&parts.disk())));
    node("driver=raw,node-name=disk-raw,file=disk-file".to_owned());
    node(format!("{},node-name=log", file(&parts.log())));
    let logged = "driver=blklogwrites,node-name=disk,file=disk-raw,log=log,log-sector-size=512";
    node(logged.to_owned());
    qemu.args(["-device", "virtio-blk-pci,addr=4,drive=root"]);
    // Only writes and flushes: the log is certain of nothing else.
    let disk = "virtio-blk-pci,addr=5,drive=disk,discard=off,write-zeroes=off";
    qemu.args(["-device", disk]);
}

/// Sends on what comes until the machine is off or nobody listens.
fn forward(stdout: ChildStdout, lines: &SyncSender<String>) {
    for line in BufReader::new(stdout).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if lines.send(line).is_err() {
            return;
        }
    }
}
