//! The CSI 1.13 messages, clients and servers, generated from `proto/csi.proto`.
//!
//! Nothing here is written by hand. Maps are ordered, so that a repeated call has the same
//! bytes. Messages with fields that may hold secrets (secrets, volume and publish context,
//! mount flags) print the number of entries instead of the entries.

#![expect(clippy::allow_attributes, reason = "the generator writes them")]

tonic::include_proto!("csi.v1");

include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
