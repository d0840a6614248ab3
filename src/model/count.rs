//! Parameters, FLOPs and cache bytes from the configuration alone.
