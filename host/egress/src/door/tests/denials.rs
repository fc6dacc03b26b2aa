//! What the operator hears of a name that leads inside somebody's network.

use std::io::Seek as _;

use super::*;

/// What is logged on this thread, as long as the guard is kept.
fn listening() -> (std::fs::File, tracing::subscriber::DefaultGuard) {
    let heard = tempfile::tempfile().unwrap();
    let log = Mutex::new(heard.try_clone().unwrap());
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(log).finish();
    (heard, tracing::subscriber::set_default(log))
}

/// Its lines with these words.
fn lines(mut heard: std::fs::File, words: &str) -> Vec<String> {
    heard.rewind().unwrap();
    let lines = std::io::read_to_string(heard).unwrap();
    lines.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

/// Mutations: `Door::deliver`, without `tell`; `Denials::add`, without the pause.
#[tokio::test(start_paused = true)]
async fn the_operator_hears_where_a_name_leads_and_not_at_the_rate_of_the_asking() {
    let answers =
        [&[PUBLIC, "169.254.169.254"][..], &["fd00::1"], &["::ffff:10.0.0.1"], &["2001:0:808:808::80ff:fffe"]];
    let scene = Scene::new(DoorConfig::default(), &answers, |_| Reaction::Answer(OK.to_vec())).await;
    let (heard, _listening) = listening();
    for nth in 0..4 {
        if nth == 3 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let told = scene.send(get()).await.unwrap_err();
        // Nothing of that is the guest's to hear.
        assert_eq!(told.to_string(), "denied: api.example.com does not resolve to public addresses only");
    }
    // What is not about an address says enough where it is answered.
    scene.send(Outgoing { url: "https://127.0.0.1/v1/a".into(), ..get() }).await.unwrap_err();
    let lines = lines(heard, "nothing was sent");
    let says = |line: usize, words: &[&str]| words.iter().all(|word| lines[line].contains(word));
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first = ["host=\"api.example.com\" address=169.254.169.254", "metadata (169.254.0.0/16)", "count=1"];
    let last = ["address=2001:0:808:808::80ff:fffe", "loopback (127.0.0.0/8), carried by Teredo", "count=3"];
    assert!(says(0, &first) && says(1, &last), "{lines:?}");
}
