//! Images and the OCI runtime.
