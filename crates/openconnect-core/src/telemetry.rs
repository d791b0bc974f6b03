//! Logs, and the recorder for what connectors measure themselves.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub use openconnect_config::logs::init_logs;

/// Installs the recorder of the `metrics` crate, for what a connector counts itself. `None` when another is installed.
/// The core's own metrics need no recorder: they are rendered from the counters of the status.
pub fn install_recorder(connector: &str, name: &str) -> Option<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .add_global_label("connector", connector)
        .add_global_label("name", name)
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok().map(|()| handle)
}
