//! A token endpoint that counts what it is asked, and says when.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

use super::world::IN_CONFIDENCE;

/// A request, and how many came before it: in all, and over its line.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) on_its_line: usize,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn ok(&self, body: &str) -> Option<String> {
        self.says(200, body)
    }

    pub(crate) fn status(&self, status: u16) -> Option<String> {
        self.says(status, "")
    }

    pub(crate) fn says(&self, status: u16, body: &str) -> Option<String> {
        let head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/json");
        Some(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }
}

/// The tokens of this number, for an hour, as a whole answer.
pub(crate) fn gives(number: usize) -> Option<String> {
    let number = number + 1;
    let [access, refresh] = ["a", "r"].map(|kind| format!("{kind}{number}-{IN_CONFIDENCE}"));
    let body = format!(r#"{{"access_token":"{access}","refresh_token":"{refresh}","expires_in":3600}}"#);
    Asked { number, on_its_line: 0, body: String::new() }.ok(&body)
}

pub(crate) struct Provider {
    pub(crate) url: Url,
    asked: watch::Receiver<Vec<Asked>>,
    go: watch::Sender<bool>,
}

type Answers = dyn Fn(&Asked) -> Option<String> + Send + Sync;

impl Provider {
    /// `None`: it closes the line.
    pub(crate) async fn new(answer: impl Fn(&Asked) -> Option<String> + Send + Sync + 'static) -> Self {
        let provider = Self::held(answer).await;
        provider.let_go();
        provider
    }

    /// It answers when it is let go.
    pub(crate) async fn held(answer: impl Fn(&Asked) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let ((all, asked), (go, held)) = (watch::channel(Vec::new()), watch::channel(false));
        let (all, answer): (_, Arc<Answers>) = (Arc::new(Mutex::new(all)), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((line, _)) = listener.accept().await {
                tokio::spawn(serve(line, Arc::clone(&all), held.clone(), Arc::clone(&answer)));
            }
        });
        Self { url, asked, go }
    }

    pub(crate) fn let_go(&self) {
        self.go.send_replace(true);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    pub(crate) async fn is_asked(&self, times: usize) {
        self.asked.clone().wait_for(|all| all.len() >= times).await.unwrap();
    }
}

async fn serve(
    line: TcpStream,
    all: Arc<Mutex<watch::Sender<Vec<Asked>>>>,
    mut held: watch::Receiver<bool>,
    answer: Arc<Answers>,
) -> Option<()> {
    let mut line = BufReader::new(line);
    for on_its_line in 0.. {
        let body = request(&mut line).await?;
        let asked = {
            let all = all.lock().unwrap();
            let number = all.borrow().len();
            let asked = Asked { number, on_its_line, body };
            all.send_modify(|all| all.push(asked.clone()));
            asked
        };
        held.wait_for(|go| *go).await.ok()?;
        line.write_all(answer(&asked)?.as_bytes()).await.ok()?;
    }
    None
}

/// The body of the next request.
async fn request(line: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut length, mut head) = (0, String::new());
    loop {
        head.clear();
        if line.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
        if head == "\r\n" {
            break;
        }
        let lower = head.to_ascii_lowercase();
        length = lower.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
    }
    let mut body = vec![0; length];
    line.read_exact(&mut body).await.ok()?;
    Some(String::from_utf8_lossy(&body).into_owned())
}
