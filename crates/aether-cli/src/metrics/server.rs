//! HTTP for whoever comes: nobody can hold more than a connection's worth of anything, or hold it for long.

use std::{collections::VecDeque, convert::Infallible, pin::pin, rc::Rc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, spawn_local},
    time::{sleep, timeout},
};

/// Connections at a time. Beyond that a new one takes the place of the oldest, so that those who hold connections
/// without using them lock out nobody.
const CONNECTIONS: usize = 128;
/// How long the head of a request may take, and a connection that is to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection is kept for more requests.
const LIFETIME: Duration = Duration::from_secs(60);
/// Bytes of a request's head, and how many fields it has.
const HEAD: usize = 16 << 10;
const FIELDS: usize = 64;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// Answers for ever what is asked of a path.
pub(super) async fn serve(listener: TcpListener, answer: Rc<dyn Fn(&str) -> Answer>) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // It went away already, or there are no descriptors left for now.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        connections.push_back(spawn_local(attend(stream, answer.clone())).abort_handle());
    }
}

async fn attend(stream: TcpStream, answer: Rc<dyn Fn(&str) -> Answer>) {
    let service = service_fn(|request| {
        let response = respond(&request, &*answer);
        async { Ok::<_, Infallible>(response) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(HEAD)
            .max_headers(FIELDS)
            .serve_connection(TokioIo::new(stream), service)
    );
    // What goes wrong is the other end's affair.
    if timeout(LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(PATIENCE, connection).await;
    }
}

fn respond(request: &Request<Incoming>, answer: &dyn Fn(&str) -> Answer) -> Response<Full<Bytes>> {
    let Answer { status, kind, text } = match *request.method() {
        Method::GET | Method::HEAD => answer(request.uri().path()),
        _ => Answer {
            status: 405,
            kind: "text/plain; charset=utf-8",
            text: "only GET and HEAD are answered\n".to_owned(),
        },
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in [
        ("allow", "GET, HEAD"),
        ("content-type", kind),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
             frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
