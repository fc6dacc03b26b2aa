//! What comes back, whole or not.

use super::*;
use crate::unpack::tests::gzipped;

/// With the redirect followed the upstream would see a second request.
#[tokio::test]
async fn a_redirect_is_an_answer() {
    for status in [301, 302, 303, 307, 308] {
        let answer = format!("HTTP/1.1 {status} X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n");
        let scene = Scene::answering(move |_| Reaction::Answer(answer.clone().into_bytes())).await;
        assert_eq!(scene.send(get()).await.unwrap().answer.status, status);
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_rejected_credential_is_told_so_that_it_can_be_refreshed() {
    let scene =
        Scene::answering(|_| Reaction::Answer(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_vec()))
            .await;
    assert!(scene.send(get()).await.unwrap().credential_rejected);
}

/// With `redact` removed the guest reads the token.
#[tokio::test]
async fn a_credential_that_the_provider_echoes_does_not_reach_the_guest() {
    let echo =
        b"HTTP/1.1 200 OK\r\nx-echo: Bearer the-access-token\r\ncontent-length: 20\r\n\r\n{\"the-access-token\"}"
            .to_vec();
    let scene = Scene::answering(move |_| Reaction::Answer(echo.clone())).await;
    let answer = scene.send(get()).await.unwrap().answer;
    assert_eq!(answer.body, "{\"[secret]\"}");
    assert!(answer.headers.contains(&("x-echo".into(), "Bearer [secret]".into())));
}

/// Mutation: `Texts::readings`, without JSON.
#[tokio::test]
async fn a_credential_that_the_provider_echoes_in_json_does_not_either() {
    let body = r#"{"plain":"a\"token/with=b","php":"a\"token\/with=b"}"#;
    let echo = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let mut scene = Scene::answering(move |_| Reaction::Answer(echo.clone())).await;
    scene.credential.insert("access_token", Secret::from_string(r#"a"token/with=b"#.into()));
    let answer = scene.send(get()).await.unwrap().answer;
    assert_eq!(answer.body, r#"{"plain":"[secret]","php":"[secret]"}"#);
}

/// What is sent to authorize is nobody's to read, in whatever writing it comes back.
///
/// Mutations: `Texts::readings`, without addresses; `Injection::add_credential`, `Basic` without `remember`;
/// `Injection::signatures`, nothing, or the whole value alone; `Door::send`, without them.
#[tokio::test]
async fn what_authorized_a_request_does_not_come_back_in_another_writing() {
    let echo: fn(&upstream::Seen) -> String = |seen| {
        let value = ["authorization", "x-sign"].iter().flat_map(|name| seen.header(name)).next().unwrap_or_default();
        let (_, last) = value.rsplit_once([' ', '=']).filter(|_| !value.ends_with('=')).unwrap_or(("", value));
        let basic = value.strip_prefix("Basic ").unwrap_or(last);
        let line = seen.head.lines().next().unwrap();
        let in_address: String = url::form_urlencoded::byte_serialize(b"a+b/c=d&e f").collect();
        format!("{line} {basic} {in_address}")
    };
    let template = json!({ "name": "X-Sign", "key_field": "key", "signed": "{path}", "encoding": "hex" });
    for (placement, secret) in [
        (Placement::Bearer { field: "access_token".into() }, "a%2Bb%2Fc%3Dd%26e+f"),
        (Placement::Query { name: "key".into(), field: "access_token".into() }, "a%2Bb%2Fc%3Dd%26e+f"),
        (
            Placement::Basic { username_field: "user".into(), password_field: Some("key".into()) },
            "dXNlcjprZXktMDEyMzQ1Njc4OQ==",
        ),
        (Placement::HmacTemplate(serde_json::from_value(template).unwrap()), ""),
        (Placement::Sigv4 { service: "s3".into(), region: "eu-central-1".parse().unwrap() }, ""),
    ] {
        let upstream = Upstream::start(None, move |_| Reaction::Echo(echo)).await;
        let to = Url::parse(&format!("http://{}", upstream.address())).unwrap();
        let development = vec![DevUpstream { host: "api.example.com".into(), to }];
        let mut scene = Scene::with_upstream(DoorConfig { development, ..DoorConfig::default() }, &[], upstream);
        let is_signed = secret.is_empty();
        scene.rule.credential = Some(placement.clone());
        scene.credential = [
            ("access_token", "a+b/c=d&e f"),
            ("user", "user"),
            ("key", "key-0123456789"),
            ("access_key_id", "AKID"),
            ("secret_access_key", "wJalrXUtnFEMI"),
        ]
        .map(|(name, value)| (name.to_owned(), Secret::from_string(value.to_owned())))
        .into_iter()
        .collect();
        let answer = scene.send(get()).await.unwrap().answer;
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        let seen = scene.upstream.seen().pop().unwrap();
        if is_signed {
            let value = ["authorization", "x-sign"].iter().flat_map(|name| seen.header(name)).next().unwrap();
            let signature = value.rsplit('=').next().unwrap();
            assert!(signature.len() == 64 && !body.contains(signature), "{placement:?}: {body}");
        } else {
            assert!(!body.contains(secret), "{placement:?}: {body}");
        }
        assert!(body.contains("[secret]"), "{placement:?}: {body}");
    }
}

/// Packed by gzip with nothing but its name told: the same text and the same secrets.
///
/// Mutations: `redact::clean`, without `unpack`, or after `capture::take`; `Door::send`, without the limit that was asked for.
#[tokio::test]
async fn an_answer_that_comes_packed_is_captured_and_redacted_like_any_other() {
    let body = r#"{"secret":"whsec_0123456789","again":"whsec_0123456789","token":"the-access-token"}"#;
    let packed = gzipped(body.as_bytes());
    let answer = move |body: &[u8]| {
        let head = format!("HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
        Reaction::Answer([head.as_bytes(), body].concat())
    };
    let sent = {
        let packed = packed.clone();
        let mut scene = Scene::answering(move |_| answer(&packed)).await;
        let (path, pointer) = ("/v1/a".parse().unwrap(), "/secret".parse().unwrap());
        scene.rule.capture = vec![bulkhead_manifest::Capture { path, pointer, name: "s".into() }];
        scene.send(post()).await.unwrap()
    };
    let read = r#"{"secret":"bulkhead:captured:s","again":"[secret]","token":"[secret]"}"#;
    assert_eq!(sent.answer.body, read);
    assert_eq!(sent.answer.headers, [("content-length".to_owned(), read.len().to_string())]);
    assert_eq!(sent.captured[0].value.expose(), b"whsec_0123456789");
    // Cut off, damaged, or of a kind that is not known: the provider did answer, and nobody reads it.
    let broken = packed[..packed.len() - 1].to_vec();
    let scene = Scene::answering(move |_| answer(&broken)).await;
    let error = scene.send(post()).await.unwrap_err();
    assert!(matches!(error, DoorError::Packed { status: 201, .. }), "{error:?}");
    assert!(error.request_sent() && !error.ambiguous() && !error.retryable());
    // A mebibyte in a thousand bytes, where a hundred thousand are allowed.
    let bomb = gzipped(&vec![0; 1 << 20]);
    let scene = Scene::answering(move |_| answer(&bomb)).await;
    let error = scene.send(Outgoing { max_response_bytes: 100_000, ..get() }).await.unwrap_err();
    assert!(matches!(error, DoorError::TooLarge { what: Large::Answer { status: 201 }, limit: 100_000 }), "{error:?}");
}

/// Mutations: `refusal`, nothing but an error: no token is renewed for it; `Door::send`, of what is delivered alone, or of what is
/// cleaned.
#[tokio::test]
async fn that_a_credential_is_refused_is_heard_though_the_answer_cannot_be_read() {
    let (long, bomb) = (vec![b'x'; 101], gzipped(&[0; 1_000]));
    assert!(bomb.len() <= 100);
    for (coding, body) in [("br", b"no".as_slice()), ("identity", &long), ("gzip", &bomb)] {
        let length = body.len();
        let head = format!("HTTP/1.1 401 No\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n");
        let refused = [head.as_bytes(), body].concat();
        let mut scene = Scene::answering(move |_| Reaction::Answer(refused.clone())).await;
        let request = || Outgoing { max_response_bytes: 100, ..get() };
        let sent = scene.send(request()).await.unwrap();
        let nothing = Answer { status: 401, headers: Vec::new(), body: Bytes::new() };
        assert_eq!((sent.answer, sent.credential_rejected), (nothing, true), "{coding}");
        // Nobody's credential was refused.
        scene.rule.credential = None;
        let error = scene.send(request()).await.unwrap_err();
        assert_eq!(error.answered(), Some(401), "{coding}: {error:?}");
    }
}

/// With the length check removed from `read` this takes all the memory there is.
#[tokio::test]
async fn an_answer_beyond_the_limit_is_cut_off_however_it_is_framed() {
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    for (head, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", vec![b'x'; 4096]),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", vec![b'x'; 4096]),
    ] {
        let scene = Scene::answering(move |_| Reaction::Endless { head: head.into(), body: body.clone() }).await;
        let error = scene.send(Outgoing { max_response_bytes: 10_000, ..get() }).await.unwrap_err();
        assert!(
            matches!(error, DoorError::TooLarge { what: Large::Answer { status: 200 }, limit: 10_000 }),
            "{head}: {error:?}"
        );
        assert!(error.request_sent() && !error.ambiguous());
    }
    // One that says beforehand how long it is, is not waited for.
    let promise =
        Reaction::Partial { bytes: "HTTP/1.1 200 OK\r\ncontent-length: 10001\r\n\r\n".into(), then_close: false };
    let scene = Scene::answering(move |_| promise.clone()).await;
    let error = scene.send(Outgoing { max_response_bytes: 10_000, ..get() }).await.unwrap_err();
    assert!(matches!(error, DoorError::TooLarge { .. }), "{error:?}");
    let scene = Scene::new(DoorConfig { max_response_bytes: 1, ..DoorConfig::default() }, &[&[PUBLIC]], |_| {
        Reaction::Answer(OK.to_vec())
    })
    .await;
    assert!(matches!(scene.send(get()).await, Err(DoorError::TooLarge { limit: 1, .. })));
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
    for answer in [OK, chunked] {
        let scene = Scene::answering(|_| Reaction::Answer(answer.to_vec())).await;
        assert_eq!(scene.send(Outgoing { max_response_bytes: 2, ..get() }).await.unwrap().answer.body, "ok");
    }
}

/// With the limits left out of `speak` this fails.
#[tokio::test]
async fn an_answer_with_too_many_or_endless_headers_breaks_off() {
    let many: String = (0..20).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = "x".repeat(2_000);
    for reaction in [
        Reaction::Answer(format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n").into_bytes()),
        Reaction::Answer(format!("HTTP/1.1 200 OK\r\nx: {long}\r\ncontent-length: 0\r\n\r\n").into_bytes()),
        Reaction::Endless { head: "HTTP/1.1 200 OK\r\nx: ".into(), body: vec![b'x'; 4096] },
        Reaction::Answer(b"SSH-2.0-OpenSSH\r\n".to_vec()),
    ] {
        let config = DoorConfig { max_headers: 10, max_header_bytes: 1_000, ..DoorConfig::default() };
        let scene = Scene::new(config, &[&[PUBLIC]], move |_| reaction.clone()).await;
        let error = scene.send(get()).await.unwrap_err();
        assert!(matches!(error, DoorError::Broken { sent: true }), "{error:?}");
    }
}

/// With the deadline removed from `exchange` these hang.
#[tokio::test]
async fn an_upstream_that_hangs_is_given_up_and_the_request_counts_as_sent() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    for reaction in [Reaction::Hang, Reaction::Partial { bytes: head.into(), then_close: false }] {
        let config = DoorConfig { total_timeout_ms: 86_400_000, ..DoorConfig::default() };
        let scene = Scene::new(config, &[&[PUBLIC]], move |_| reaction.clone()).await;
        let request = Outgoing { timeout_ms: Some(60), ..post() };
        let error = tokio::time::timeout(PATIENCE, scene.send(request)).await.expect("it asked for less").unwrap_err();
        assert!(matches!(error, DoorError::Timeout { sent: true }), "{error:?}");
        assert!(error.ambiguous());
    }
    // A guest cannot ask for longer than the door allows.
    let scene =
        Scene::new(DoorConfig { total_timeout_ms: 60, ..DoorConfig::default() }, &[&[PUBLIC]], |_| Reaction::Hang)
            .await;
    let error = scene.send(Outgoing { timeout_ms: Some(u32::MAX), ..post() }).await.unwrap_err();
    assert!(matches!(error, DoorError::Timeout { sent: true }));
}

#[tokio::test]
async fn a_handshake_that_hangs_sent_nothing() {
    let upstream = Upstream::start(None, |_| Reaction::Hang).await;
    let scene =
        Scene::with_upstream(DoorConfig { connect_timeout_ms: 60, ..DoorConfig::default() }, &[&[PUBLIC]], upstream);
    let error = scene.send(post()).await.unwrap_err();
    assert!(matches!(error, DoorError::Connect { reason: ConnectFailure::Timeout, .. }), "{error:?}");
    assert!(!error.request_sent() && error.retryable());
    assert!(matches!(scene.send(Outgoing { timeout_ms: Some(0), ..get() }).await, Err(error) if !error.request_sent()));
}

/// Mutation: `Door::connect`, without the deadline.
#[tokio::test]
async fn a_handshake_takes_no_longer_than_its_request_may() {
    let upstream = Upstream::start(None, |_| Reaction::Hang).await;
    let config = DoorConfig { connect_timeout_ms: 86_400_000, ..DoorConfig::default() };
    let scene = Scene::with_upstream(config, &[&[PUBLIC]], upstream);
    let request = Outgoing { timeout_ms: Some(60), ..post() };
    let error = tokio::time::timeout(PATIENCE, scene.send(request)).await.expect("it asked for less").unwrap_err();
    assert!(matches!(error, DoorError::Timeout { sent: false }), "{error:?}");
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    scene.sockets.port.store(closed, Ordering::SeqCst);
    let error = scene.send(post()).await.unwrap_err();
    assert!(matches!(error, DoorError::Connect { reason: ConnectFailure::Unreachable, .. }), "{error:?}");
    assert!(!error.ambiguous());
}

#[tokio::test]
async fn a_connection_that_dies_after_the_request_leaves_the_outcome_open() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    for reaction in [
        Reaction::Close,
        Reaction::Partial { bytes: half.into(), then_close: true },
        Reaction::Partial { bytes: "HTTP/1.1 200".into(), then_close: true },
        Reaction::Partial {
            bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".into(),
            then_close: true,
        },
    ] {
        let scene = Scene::answering(move |_| reaction.clone()).await;
        let error = scene.send(post()).await.unwrap_err();
        assert!(matches!(error, DoorError::Broken { sent: true }), "{error:?}");
        assert!(error.ambiguous());
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}
