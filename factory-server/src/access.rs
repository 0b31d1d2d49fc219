//! The access log and the fields that every answer has.
//!
//! One line for each request, written when the last byte of its answer is gone or the client is.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, HeaderValue, SERVER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use futures::Stream;
use tower_http::request_id::{MakeRequestId as _, MakeRequestUuid};
use tracing::{Instrument as _, Span, info_span};

use crate::metrics::{InFlight, Metrics};

/// Names a request in the logs of everybody on its way.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a client: it is repeated in every line.
const MAX_REQUEST_ID_LEN: usize = 128;
/// The status in the log of a request whose client went before it was answered. nginx's.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// As the reference names itself.
const SERVER_NAME: &str = concat!("Image Factory v", env!("CARGO_PKG_VERSION"));

/// Why a request failed, for the log and not for the client.
#[derive(Clone, Debug)]
pub struct Cause(pub String);

/// What is logged and counted of a request, when it is over: a client may go before there is an answer.
struct Line {
    method: Method,
    uri: Uri,
    /// The pattern of the route, if there is one.
    route: Option<MatchedPath>,
    request_id: String,
    begun: Instant,
    status: StatusCode,
    size_bytes: u64,
    cause: Option<String>,
    metrics: Metrics,
    span: Span,
    _in_flight: InFlight,
}

/// A body that is counted, and logged when it ends or is dropped.
struct Counted {
    body: BodyDataStream,
    line: Line,
}

/// Wraps a request: gives it an id, its answer the common fields, and the log a line.
pub async fn logged(State(metrics): State<Metrics>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(&request);
    let request_id = id.to_str().unwrap_or_default().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let in_flight = metrics.request(route.as_ref().map(MatchedPath::as_str));
    let mut line = Line {
        method: request.method().clone(),
        uri: request.uri().clone(),
        route,
        span: info_span!("request", request.id = request_id),
        request_id,
        begun,
        status: CLIENT_CLOSED_REQUEST.try_into().expect("it has three digits"),
        size_bytes: 0,
        cause: None,
        metrics,
        _in_flight: in_flight,
    };
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let mut response = next.run(request).instrument(line.span.clone()).await;

    line.status = response.status();
    line.cause = response.extensions_mut().remove::<Cause>().map(|cause| cause.0);
    // A stream does not know its length; what is counted does. 304 has none, and must not say that the whole has none.
    if response.status() != StatusCode::NOT_MODIFIED
        && let Some(len) = response.body().size_hint().exact()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_REQUEST_ID, id);
    response.map(|body| Body::from_stream(Counted { body: body.into_data_stream(), line }))
}

/// The client's id if it is one word of visible ASCII, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_REQUEST_ID_LEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let given = request.headers().get(X_REQUEST_ID).filter(usable).cloned();
    let made =
        || MakeRequestUuid.make_request_id(request).map(tower_http::request_id::RequestId::into_header_value);
    given.or_else(made).unwrap_or(HeaderValue::from_static("-"))
}

impl Stream for Counted {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = this.line.span.in_scope(|| Pin::new(&mut this.body).poll_next(context));
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => self.line.size_bytes += bytes.len() as u64,
            Poll::Ready(Some(Err(error))) => self.line.cause = Some(chain(error)),
            _ => {}
        }
        polled
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let duration = self.begun.elapsed();
        let route = self.route.as_ref().map(MatchedPath::as_str);
        self.metrics.answered(route, &self.method, self.status, duration, self.size_bytes);
        self.write(duration);
    }
}

impl Line {
    /// Outside of the span, whose only field the line has itself.
    fn write(&self, duration: Duration) {
        let duration_ms = duration.as_secs_f64() * 1000.0;
        let Self { method, uri, request_id, size_bytes, .. } = self;
        let (path, status) = (uri.path(), self.status.as_u16());
        let cause = self.cause.as_deref();
        // A body that fails has its status already.
        if status >= 500 || (cause.is_some() && status < 400) {
            tracing::error!(parent: None, %method, path, status, size_bytes, duration_ms, request.id = request_id, cause, "request");
        } else {
            tracing::info!(parent: None, %method, path, status, size_bytes, duration_ms, request.id = request_id, cause, "request");
        }
    }
}

/// An error and its sources on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Router, middleware};
    use futures::FutureExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_client_that_goes_before_the_answer_is_counted() {
        let metrics = Metrics::default();
        let routes = Router::new()
            .route("/{never}", get(std::future::pending::<()>))
            .layer(middleware::from_fn_with_state(metrics.clone(), logged));
        let mut request = Box::pin(routes.oneshot(Request::get("/a").body(Body::empty()).unwrap()));
        assert!((&mut request).now_or_never().is_none());
        let exposed = || metrics.exposition().unwrap();
        assert!(exposed().contains("http_requests_inflight{handler=\"/{never}\"} 1\n"), "{}", exposed());
        drop(request);
        assert!(exposed().contains("http_requests_inflight{handler=\"/{never}\"} 0\n"), "{}", exposed());
        let one = "http_request_duration_seconds_count{handler=\"/{never}\",method=\"GET\",code=\"499\"} 1\n";
        assert!(exposed().contains(one), "{}", exposed());
    }

    #[tokio::test]
    async fn a_panic_is_not_the_clients() {
        async fn panics() {
            panic!("a test panics");
        }
        let metrics = Metrics::default();
        let routes = Router::new()
            .route("/", get(panics))
            .layer(middleware::from_fn_with_state(metrics.clone(), logged));
        let request = routes.oneshot(Request::get("/").body(Body::empty()).unwrap());
        assert!(tokio::spawn(request).await.unwrap_err().is_panic());
        let text = metrics.exposition().unwrap();
        assert!(text.contains("_seconds_count{handler=\"/\",method=\"GET\",code=\"500\"} 1\n"), "{text}");
    }
}
