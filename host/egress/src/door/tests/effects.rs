//! Intents before effects, and keys the same in every attempt.

use super::*;

/// With the intent moved behind the connection, or its refusal ignored, this fails.
#[tokio::test]
async fn an_unsafe_request_leaves_only_after_its_intent() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let mut journal = Journal::new(&scene.upstream);
    let sent = scene.send_as("conn_1", post(), &journal).await.unwrap();
    assert_eq!(
        *journal.events.lock().unwrap(),
        ["intent after 0 connections", "IntentCommitted", "BytesSent", "AnswerReceived"]
    );
    let key = sent.effect_key.unwrap();
    assert_eq!(key.len(), 50);
    assert_eq!(scene.upstream.seen()[0].header("idempotency-key"), [key.as_str()]);
    let intent = Intent {
        method: "POST".into(),
        url: "https://api.example.com/v1/a?b=c".into(),
        effect_key: key,
        keyed: true,
        given: true,
        window_ms: Some(86_400_000),
    };
    assert_eq!(*journal.intents.lock().unwrap(), [intent]);

    journal.refuse = Some(Refused::LeaseLost);
    let error = scene.send_as("conn_1", post(), &journal).await.unwrap_err();
    assert!(matches!(error, DoorError::Refused(Refused::LeaseLost)) && !error.request_sent());
    assert_eq!(scene.upstream.seen().len(), 1);
}

/// What does the same again by its method needs no key, and people are not told that it had one.
///
/// Mutation: door.rs, `Cleared::intent`, a key is given wherever it may be sent again.
#[tokio::test]
async fn an_intent_says_whether_the_provider_is_given_its_key() {
    let mut scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    scene.rule.methods = vec!["PUT".to_owned()];
    let mut said = Vec::new();
    let by_method = Idempotency::Method { window_minutes: 1 };
    for idempotency in [scene.rule.idempotency.clone(), by_method, Idempotency::None] {
        scene.rule.idempotency = idempotency;
        let journal = Journal::new(&scene.upstream);
        scene.send_as("conn_1", Outgoing { method: "PUT".into(), ..post() }, &journal).await.unwrap();
        said.extend(journal.intents.lock().unwrap().iter().map(|intent| (intent.keyed, intent.given)));
    }
    assert_eq!(said, [(true, true), (true, false), (false, false)]);
}

#[tokio::test]
async fn every_attempt_of_an_effect_gives_the_provider_the_same_key() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    for _ in 0..2 {
        scene.send(post()).await.unwrap();
    }
    let seen = scene.upstream.seen();
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
}

#[tokio::test]
async fn a_safe_request_has_no_intent_and_no_key() {
    let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    let journal = Journal::new(&scene.upstream);
    scene.send_as("conn_1", get(), &journal).await.unwrap();
    assert_eq!(*journal.events.lock().unwrap(), ["BytesSent", "AnswerReceived"]);
    assert!(scene.upstream.seen()[0].header("idempotency-key").is_empty());
}

/// With the pause at a point ignored this fails; with `all_sent` told before the last byte the
/// upstream would not have the whole body.
#[tokio::test]
async fn a_process_can_be_stopped_at_each_point_and_has_done_what_it_says() {
    let body = Bytes::from(vec![b'x'; 300_000]);
    for (point, requests) in [(Point::IntentCommitted, 0), (Point::BytesSent, 1), (Point::AnswerReceived, 1)] {
        let scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
        let journal = Journal { stop_at: Some(point), ..Journal::new(&scene.upstream) };
        let there = async {
            while !journal.events.lock().unwrap().contains(&format!("{point:?}"))
                || scene.upstream.seen().len() < requests
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            sent = scene.send_as("conn_1", Outgoing { body: body.clone(), ..post() }, &journal) => panic!("went on: {sent:?}"),
            () = there => {}
        }
        let seen = scene.upstream.seen();
        assert_eq!(seen.len(), requests, "{point:?}");
        assert!(seen.iter().all(|seen| seen.body.len() == body.len()), "{point:?}");
    }
}

#[tokio::test]
async fn the_key_goes_into_the_query_or_the_body_where_the_rule_says_so() {
    let mut scene = Scene::answering(|_| Reaction::Answer(OK.to_vec())).await;
    scene.rule.idempotency = Idempotency::Query { name: "requestid".into(), max_length: 36, window_minutes: 1 };
    let key = scene.send(post()).await.unwrap().effect_key.unwrap();
    scene.rule.idempotency =
        serde_json::from_value(json!({"json": {"pointer": "/idempotency_key", "max_length": 45, "window_minutes": 1}}))
            .unwrap();
    let longer = scene.send(post()).await.unwrap().effect_key.unwrap();
    let error = scene.send(Outgoing { body: Bytes::from_static(b"a=b"), ..post() }).await.unwrap_err();
    assert!(matches!(error, DoorError::InvalidRequest(InvalidRequest::NoPlaceForKey { .. })), "{error:?}");
    let seen = scene.upstream.seen();
    assert!(seen[0].head.starts_with(&format!("POST /v1/a?b=c&requestid={key} HTTP/1.1\r\n")), "{}", seen[0].head);
    assert_eq!(seen[1].body, format!("{{\"amount\":1.10,\"idempotency_key\":\"{longer}\"}}").into_bytes());
    assert_eq!(seen[1].header("content-length"), [seen[1].body.len().to_string().as_str()]);
    assert_eq!((key.len(), longer.len(), seen.len()), (36, 45, 2));
}
