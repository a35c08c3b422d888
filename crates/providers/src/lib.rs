//! Resource providers: storage through CSI.
