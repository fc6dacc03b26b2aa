//! A provider with every bad habit, one for each path. It keeps nothing of what it is sent.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::{StreamExt, stream};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::gzip;

/// What gzip makes of a mebibyte of nothing, over and over: it would be a thousand times as much.
const GZIP_BOMB: usize = 64 << 20;
/// What a socket holds of what was not read yet: without end it would be as much as a whole request.
const UNREAD: u32 = 64 << 10;
/// Bytes a beat: far too few to be in time.
const SIP: usize = 4 << 10;
/// The same, of which all of a request takes not two seconds.
const GULP: usize = 128 << 10;

/// A place on the loopback to which no more can be sent than is read.
pub(super) fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(UNREAD).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.listen(1_024).unwrap()
}

/// Reads so many bytes every twentieth of a second. How many there were, and whether they came to their end.
pub(super) async fn sipped(body: Body, bytes: usize) -> (usize, bool) {
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let (mut read, mut may_be) = (0, 0);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { return (read, false) };
        read += piece.len();
        while may_be < read {
            beat.tick().await;
            may_be += bytes;
        }
    }
    (read, true)
}

/// A server on the loopback. Dropping it ends it.
pub(super) struct Upstream {
    url: String,
    serving: JoinHandle<()>,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = listener();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bomb = Bytes::from(gzip::of_zeros(GZIP_BOMB));
        let router = Router::new().fallback(move |request| answer(request, bomb.clone()));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, serving }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(request: Request, bomb: Bytes) -> Response {
    let path = request.uri().path().trim_start_matches("/v1/").to_owned();
    match path.as_str() {
        // Not a byte of the body is read.
        "deaf" => return std::future::pending().await,
        // All of it, before there is an answer.
        "sips" | "gulps" => {
            sipped(request.into_body(), if path == "sips" { SIP } else { GULP }).await;
            return Response::new(Body::empty());
        }
        _ => {}
    }
    let authorization = request.headers().get("authorization").cloned();
    let _ = to_bytes(request.into_body(), 64 << 20).await;
    let text = |text: String| Response::new(Body::from(text));
    let with = |name: &str, value: &str, body: Body| Response::builder().header(name, value).body(body).unwrap();
    let redirect = |to: &str| Response::builder().status(302).header("location", to).body(Body::empty()).unwrap();
    let nested = |levels: usize| text(format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    match path.as_str() {
        "silent" => std::future::pending().await,
        // Its head, and then a byte now and then.
        "drips" => {
            let drops = stream::unfold(tokio::time::interval(Duration::from_millis(100)), |mut beat| async {
                beat.tick().await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), beat))
            });
            Response::new(Body::from_stream(drops))
        }
        "endless" => {
            let piece = Bytes::from(vec![b'x'; 64 << 10]);
            Response::new(Body::from_stream(stream::repeat(piece).map(Ok::<_, Infallible>)))
        }
        "gzip-bomb" => with("content-encoding", "gzip", Body::from(bomb)),
        // Each leads to the next, and the last into the network.
        "hop" => redirect("https://api.allowed.example/v1/hop/2"),
        "hop/2" => redirect("https://api.allowed.example/v1/hop/3"),
        "hop/3" => redirect("https://169.254.169.254/latest/meta-data/"),
        "many-headers" => {
            let all = (0..1_000).fold(Response::builder(), |all, nth| all.header(format!("x-{nth}"), "1"));
            all.body(Body::empty()).unwrap()
        }
        "long-header" => with("x-long", &"x".repeat(1 << 20), Body::empty()),
        "deep" => nested(65),
        "deep-bomb" => nested(1 << 20),
        "deep-objects" => text(format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000))),
        "not-a-number" => text("NaN".to_owned()),
        large if large.starts_with("answers/") => Response::new(Body::from(vec![b'x'; 7 << 20])),
        "echo" => echo(authorization.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default()),
        _ => Response::new(Body::empty()),
    }
}

/// Whoever asked, in every place where a provider would repeat it.
fn echo(authorization: &str) -> Response {
    let secret = authorization.trim_start_matches("Bearer ");
    let body = serde_json::json!({
        "as it is": authorization,
        "in a url": format!("https://api.allowed.example/?key={secret}&"),
        "beside others": format!("{secret}{secret}"),
    });
    let head = Response::builder().header("x-authorization", authorization).header("x-key", secret);
    head.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
}
