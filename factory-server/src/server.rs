//! The server: a listener, the routes, and the end.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use futures::FutureExt as _;
use tokio::net::TcpListener;

/// How long downloads may go on after the server was told to stop. Longer ones are cut; their clients resume by range.
pub const DRAIN: Duration = Duration::from_secs(20);

/// Serves `routes` on `listener` until `stop`, then lets what is being answered end within [`DRAIN`].
///
/// # Errors
/// What accepting connections fails with.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stop = stop.shared();
    // A header goes out at once, not when the bytes after it fill a segment.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let served = axum::serve(listener, routes).with_graceful_shutdown(stop.clone());
    let drained = async {
        stop.await;
        tracing::info!("stopping");
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = served => served,
        () = drained => {
            tracing::warn!(limit_s = DRAIN.as_secs(), "downloads are cut");
            Ok(())
        }
    }
}
