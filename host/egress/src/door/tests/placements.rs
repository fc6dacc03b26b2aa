//! Credentials that sign, and secrets that answers bring.

use super::*;

/// Answers 201 with this.
fn minting(body: &'static str) -> impl Fn(usize) -> Reaction + Send + Sync + 'static {
    move |_| {
        let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\nx-minted: {body}\r\n\r\n", body.len());
        Reaction::Answer(format!("{head}{body}").into_bytes())
    }
}

fn signs() -> Placement {
    let signing = json!({
        "name": "X-Sign", "key_field": "access_token", "signed": "{path}{timestamp}{nonce}", "encoding": "hex",
        "timestamp_header": "X-Time", "nonce_header": "X-Nonce",
    });
    Placement::HmacTemplate(serde_json::from_value(signing).unwrap())
}

/// The first of the two may have been read, and its nonce is spent.
///
/// Mutation: `deliver`, sign once for both.
#[tokio::test]
async fn what_is_sent_again_on_a_new_connection_is_signed_anew() {
    // Reads the second request of a connection to its end and dies without a word.
    let react = |nth| if nth == 1 { Reaction::Close } else { Reaction::Answer(OK.to_vec()) };
    let mut scene = Scene::answering(react).await;
    scene.rule.credential = Some(signs());
    scene.send(get()).await.unwrap();
    scene.send(with_header("X-Nonce", "own")).await.unwrap();
    let seen = scene.upstream.seen();
    let nonces: Vec<&str> = seen.iter().flat_map(|seen| seen.header("x-nonce")).collect();
    assert_eq!((nonces.len(), seen[1].header("x-time")), (3, vec!["1440938160"]));
    assert_ne!(nonces[1], nonces[2]);
    assert_ne!(seen[1].header("x-sign"), seen[2].header("x-sign"));
    assert!(!nonces.contains(&"own"));
}

/// Mutations: `send`, without `capture::wanted`; host/egress/src/redact.rs, `clean`, without `capture::take`.
#[tokio::test]
async fn a_minted_secret_is_handed_over_beside_the_answer() {
    let mut scene = Scene::answering(minting(r#"{"secret":"whsec_0123456789"}"#)).await;
    let (path, pointer) = ("/v1/a".parse().unwrap(), "/secret".parse().unwrap());
    scene.rule.capture = vec![bulkhead_manifest::Capture { path, pointer, name: "s".into() }];
    let sent = scene.send(post()).await.unwrap();
    assert_eq!(sent.answer.body, r#"{"secret":"bulkhead:captured:s"}"#);
    assert!(!format!("{sent:?}").contains("whsec_"), "{sent:?}");
    let [captured] = sent.captured.as_slice() else { panic!("one secret") };
    assert_eq!((captured.name.as_str(), captured.value.expose()), ("s", b"whsec_0123456789".as_slice()));
    let elsewhere = scene.send(Outgoing { url: "https://api.example.com/v1/b".into(), ..get() }).await.unwrap();
    assert!(elsewhere.captured.is_empty() && elsewhere.answer.body.ends_with(b"whsec_0123456789\"}"));
}

#[tokio::test]
async fn an_answer_that_hides_its_secret_is_withheld_and_not_ambiguous() {
    let mut scene = Scene::answering(minting("secret=whsec_0123456789")).await;
    let (path, pointer) = ("/v1/*".parse().unwrap(), "/secret".parse().unwrap());
    scene.rule.capture = vec![bulkhead_manifest::Capture { path, pointer, name: "s".into() }];
    let error = scene.send(post()).await.unwrap_err();
    assert!(matches!(error, DoorError::Withheld { status: 201, .. }), "{error:?}");
    assert!(error.request_sent() && !error.ambiguous() && !error.to_string().contains("whsec_"));
}

/// S3 repeats in its refusals what it checked.
///
/// Mutation: host/egress/src/inject.rs, `aws_signer`, do not remember the session token.
#[tokio::test]
async fn of_what_goes_with_an_aws_signature_the_session_token_is_secret() {
    let mut scene = Scene::answering(minting(r#"{"id":"AKIDEXAMPLE","token":"a-session-token"}"#)).await;
    let fields = [
        ("access_key_id", "AKIDEXAMPLE"),
        ("secret_access_key", "the-key-itself"),
        ("session_token", "a-session-token"),
    ];
    for (name, value) in fields {
        scene.credential.insert(name, Secret::from_string(value.into()));
    }
    scene.rule.credential = Some(Placement::Sigv4 { service: "s3".into(), region: "auto".parse().unwrap() });
    let sent = scene.send(get()).await.unwrap();
    assert_eq!(sent.answer.body, r#"{"id":"AKIDEXAMPLE","token":"[secret]"}"#);
    let seen = scene.upstream.seen();
    assert_eq!(
        (seen[0].header("x-amz-security-token"), seen[0].header("x-amz-date")),
        (vec!["a-session-token"], vec!["20150830T123600Z"])
    );
    assert!(!format!("{seen:?}").contains("the-key-itself"));
}
