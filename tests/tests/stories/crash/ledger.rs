//! The ledger: a provider that stops at a moment of a story's choice and misbehaves as it is told, entry by entry.
//!
//! It speaks HTTP/1.1 over plain sockets, so that it can read and not answer, answer by half, or hang up. Every request
//! gets a connection of its own; who closes it after a whole answer has read that answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where the first request of an entry can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The booking has been read, nothing has been done.
    Received,
    /// It is booked, nothing has been answered.
    Booked,
    /// The read after it has been read itself.
    After,
}

/// What is done to the first booking of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Unavailable,
    HangUp,
    /// Half of the answer, then the end of the connection.
    Cut,
    /// Never an answer.
    Silence,
    /// A good answer that says "not yet".
    NotYet,
    /// A good answer of a size that nobody takes.
    Huge,
    /// 503, of such a size.
    HugeUnavailable,
}

/// How the ledger treats an entry the first time; later it does everything right.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Script {
    pub(crate) stop: Option<Stop>,
    /// Done to the booking.
    pub(crate) trouble: Option<Trouble>,
    /// The trouble goes on until [`Ledger::recover`].
    pub(crate) lasts: bool,
    /// Whether it is booked before the trouble.
    pub(crate) books: bool,
    /// Done to the read after it.
    pub(crate) later: Option<Trouble>,
}

/// What happens to a request that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Wait,
    GoOn,
    /// As if it had never come.
    Forget,
}

/// What there is of an entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Requests to book it.
    pub(crate) asked: usize,
    /// How often it stands in the ledger.
    pub(crate) booked: usize,
    /// Reads after it.
    pub(crate) after: usize,
    /// Different idempotency keys among the requests.
    pub(crate) keys: HashSet<String>,
    stands: bool,
    /// A stopped request was answered, and the answer read to its end.
    heard: bool,
    troubled: usize,
}

struct Row {
    script: Script,
    seen: Seen,
    word: watch::Sender<Word>,
}

#[derive(Default)]
struct Books {
    rows: BTreeMap<String, Row>,
}

/// A ledger on the loopback.
pub(crate) struct Ledger {
    url: String,
    books: Arc<Mutex<Books>>,
    changed: Arc<watch::Sender<u64>>,
    serving: JoinHandle<()>,
}

struct Asked {
    method: String,
    place: String,
    entry: String,
    key: Option<String>,
}

impl Ledger {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (books, changed) = (Arc::new(Mutex::new(Books::default())), Arc::new(watch::Sender::new(0)));
        let desk = Desk { books: books.clone(), changed: changed.clone() };
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let desk = desk.clone();
                tokio::spawn(async move { desk.serve(stream).await });
            }
        });
        Self { url, books, changed, serving }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Says what happens to an entry.
    pub(crate) fn script(&self, entry: &str, script: Script) {
        let row = Row { script, seen: Seen::default(), word: watch::Sender::new(Word::Wait) };
        self.books.lock().unwrap().rows.insert(entry.to_owned(), row);
    }

    pub(crate) fn seen(&self, entry: &str) -> Seen {
        self.books.lock().unwrap().rows[entry].seen.clone()
    }

    /// Waits until the entry's request stands where the script stops it.
    pub(crate) async fn stands(&self, entry: &str) {
        self.until(entry, |seen| seen.stands).await;
    }

    /// Waits until the trouble has been done.
    pub(crate) async fn troubled(&self, entry: &str) {
        self.until(entry, |seen| seen.troubled > 0).await;
    }

    /// Lets a standing request go on and waits until its answer has been read.
    pub(crate) async fn answer(&self, entry: &str) {
        self.say(entry, Word::GoOn);
        self.until(entry, |seen| seen.heard).await;
    }

    /// Lets a standing request go on although nobody hears the answer any more, and waits until it is booked.
    pub(crate) async fn act(&self, entry: &str) {
        self.say(entry, Word::GoOn);
        self.until(entry, |seen| seen.booked > 0).await;
    }

    /// A standing request never happened.
    pub(crate) fn forget(&self, entry: &str) {
        self.say(entry, Word::Forget);
    }

    /// The trouble is over.
    pub(crate) fn recover(&self, entry: &str) {
        self.say(entry, Word::GoOn);
    }

    /// Nothing listens any more.
    pub(crate) async fn close(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    fn say(&self, entry: &str, word: Word) {
        self.books.lock().unwrap().rows[entry].word.send_replace(word);
    }

    async fn until(&self, entry: &str, enough: impl Fn(&Seen) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = changed.wait_for(|_| enough(&self.seen(entry)));
        let came = tokio::time::timeout(bulkhead_tests::PATIENCE, waiting).await;
        assert!(came.is_ok(), "it never came to this: {entry}: {:?}", self.seen(entry));
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Desk {
    books: Arc<Mutex<Books>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Desk {
    fn row<T>(&self, entry: &str, with: impl FnOnce(&mut Row) -> T) -> T {
        let mut books = self.books.lock().unwrap();
        let row = books.rows.get_mut(entry).unwrap_or_else(|| panic!("nobody spoke of {entry}"));
        let value = with(row);
        drop(books);
        self.changed.send_modify(|count| *count += 1);
        value
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some(asked) = read(&mut stream).await else { return };
        let (entry, first) = (asked.entry.as_str(), self.arrive(&asked));
        let (script, lasts) = self.row(entry, |row| (row.script, row.script.lasts && *row.word.borrow() == Word::Wait));
        let (stop, trouble) = match (asked.method.as_str(), first || lasts) {
            ("POST", true) => (script.stop.filter(|stop| *stop != Stop::After), script.trouble),
            ("GET", true) if asked.place == "after" => (script.stop.filter(|stop| *stop == Stop::After), script.later),
            _ => (None, None),
        };
        if matches!(stop, Some(Stop::Received | Stop::After)) && self.stand(entry).await == Word::Forget {
            return;
        }
        if asked.method == "POST" && (trouble.is_none() || script.books) {
            self.book(&asked);
        }
        if stop == Some(Stop::Booked) {
            self.stand(entry).await;
        }
        let whole = answer(&mut stream, trouble).await;
        if trouble == Some(Trouble::Silence) {
            closed(&mut stream).await;
        }
        self.row(entry, |row| {
            row.seen.troubled += usize::from(trouble.is_some());
            row.seen.heard |= stop.is_some() && whole;
        });
    }

    /// Writes a request down; whether it is the first of its kind.
    fn arrive(&self, asked: &Asked) -> bool {
        self.row(&asked.entry, |row| {
            let count = match asked.place.as_str() {
                "before" => return false,
                "after" => &mut row.seen.after,
                _ => &mut row.seen.asked,
            };
            *count += 1;
            *count == 1
        })
    }

    /// An entry, unless its key says that it is there.
    fn book(&self, asked: &Asked) {
        self.row(&asked.entry, |row| {
            let known = match &asked.key {
                Some(key) => !row.seen.keys.insert(key.clone()),
                None => false,
            };
            row.seen.booked += usize::from(!known);
        });
    }

    async fn stand(&self, entry: &str) -> Word {
        let mut word = self.row(entry, |row| {
            row.seen.stands = true;
            row.word.subscribe()
        });
        let said = word.wait_for(|word| *word != Word::Wait).await;
        said.map_or(Word::Forget, |word| *word)
    }
}

/// Answers, more or less; whether whoever asked has read all of it.
async fn answer(stream: &mut TcpStream, trouble: Option<Trouble>) -> bool {
    const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const NOT_YET: &str = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\nconnection: close\r\n\r\n{\"not_yet\": true}";
    const HUGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\nconnection: close\r\n\r\n{}";
    const HUGE_BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 9999999999\r\nconnection: close\r\n\r\n{}";
    let text = match trouble {
        None => GOOD,
        Some(Trouble::Huge) => HUGE,
        Some(Trouble::HugeUnavailable) => HUGE_BUSY,
        Some(Trouble::Unavailable) => BUSY,
        Some(Trouble::NotYet) => NOT_YET,
        Some(Trouble::Cut) => &GOOD[..GOOD.len() - 1],
        Some(Trouble::HangUp | Trouble::Silence) => "",
    };
    let sent = stream.write_all(text.as_bytes()).await.is_ok();
    match trouble {
        None | Some(Trouble::Unavailable | Trouble::NotYet) => sent && closed(stream).await,
        _ => false,
    }
}

/// Waits until the other side closes; whether it did so in order.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut rest = [0_u8; 64];
    loop {
        match stream.read(&mut rest).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// One request, whole.
async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut piece = [0_u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let mut fields = head.lines().filter_map(|line| line.split_once(':'));
                fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
            };
            if body.len() >= header("content-length").map_or(0, |length| length.parse().unwrap()) {
                let mut words = head.split(' ');
                let (method, target) = (words.next()?.to_owned(), words.next()?);
                let (place, entry) = target.trim_start_matches('/').split_once('/')?;
                let (place, entry) = (place.to_owned(), entry.to_owned());
                return Some(Asked { method, place, entry, key: header("idempotency-key") });
            }
        }
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    }
}
