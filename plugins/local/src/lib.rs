//! Our CSI driver for a machine's own disk.
