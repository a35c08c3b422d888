//! The record of every call, and how each ended.
//!
//! Written by the server as calls arrive and end; read by tests.

use prost::Message;
use sutler_csi::Rpc;
use tonic::Code;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not.
    Pending,
    /// With OK.
    Answered,
    /// With this code.
    Failed(Code),
    /// The caller went away, or the plugin died.
    Dropped,
}

/// One call as it arrived.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// Rises with every call to the back end.
    pub sequence: u64,
    pub rpc: Rpc,
    /// The node of the plugin that got it.
    pub node_id: String,
    /// The volume it was about: its id, for CreateVolume its name.
    pub volume: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    pub(super) bytes: Vec<u8>,
}

impl RecordedCall {
    /// The arguments, secrets included; the type is the request's of this call.
    ///
    /// # Panics
    ///
    /// It is the wrong type.
    pub fn args<T: Message + Default>(&self) -> T {
        T::decode(self.bytes.as_slice()).expect("the type is that of the call")
    }
}
