//! What the operator hears of a name that leads inside somebody's network.

use super::*;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Words(String);
        impl tracing::field::Visit for Words {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut words = Words(String::new());
        event.record(&mut words);
        self.0.lock().unwrap().push(words.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Mutations: `Door::deliver`, without `tell`; `Denials::add`, without the pause.
#[tokio::test(start_paused = true)]
async fn the_operator_hears_where_a_name_leads_and_not_at_the_rate_of_the_asking() {
    let answers =
        [&[PUBLIC, "169.254.169.254"][..], &["fd00::1"], &["::ffff:10.0.0.1"], &["2001:0:808:808::80ff:fffe"]];
    let scene = Scene::new(DoorConfig::default(), &answers, |_| Reaction::Answer(OK.to_vec())).await;
    let heard = Heard::default();
    let _listening = tracing::subscriber::set_default(heard.clone());
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
    let lines = heard.0.lock().unwrap().clone();
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("nothing was sent")).collect();
    let says = |line: usize, words: &[&str]| words.iter().all(|word| lines[line].contains(word));
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first = ["host=\"api.example.com\" address=169.254.169.254", "metadata (169.254.0.0/16)", "count=1"];
    let last = ["address=2001:0:808:808::80ff:fffe", "loopback (127.0.0.0/8), carried by Teredo", "count=3"];
    assert!(says(0, &first) && says(1, &last), "{lines:?}");
}
