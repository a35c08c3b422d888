//! `sutler-local`: a CSI driver for a node's own disk.
//!
//! A volume is an image file in a folder of its own, offered as an ext4 or xfs file system or
//! as a raw block device through a loop device. The map of the parts:
//!
//! ```text
//! main ── server ── identity, controller, node      gRPC in and out, nothing else
//!                        │ request                  what a call asks for, checked, pure
//!                        │ answer, refusal          one line of log and one code per call
//!                        ▼
//!              pool  (record, size, mkfs, superblock)   volumes as files, durable
//!              stage, publish, expand (loopdev, mounts) volumes as devices and mounts
//! ```
//!
//! Two rules carry the safety of data. A file system is made only inside a folder that no
//! listing has ever shown; a volume that exists is never formatted. And what is attached or
//! mounted is read from the kernel at each call, never remembered, so that a restart with
//! volumes in use changes nothing.

pub mod answer;
pub mod controller;
pub mod expand;
pub mod host;
pub mod identity;
pub mod locks;
pub mod mkfs;
pub mod node;
pub mod pool;
pub mod publish;
pub mod record;
pub mod refusal;
pub mod request;
pub mod server;
pub mod size;
pub mod stage;
pub mod steps;
pub mod superblock;
pub mod tools;
