//! What is sealed, wherever it stands, and the keys that it is sealed under.

use bulkhead_manifest::{SessionId, VersionId};
use sqlx::{Connection as _, Executor as _, Row as _};

use super::{NOW, World, new_run, on_both};
use crate::*;

/// Everything that is sealed, in walks of so many rows.
async fn heads(world: &World, limit: u32, bytes: u32) -> Vec<(SealedPlace, Vec<u8>)> {
    let (mut read, mut all) = (world.store.system_read().await.unwrap(), Vec::new());
    for start in SealedPlace::STARTS {
        let mut after = start;
        loop {
            let Heads { found, last } = read.sealed_after(&after, limit, bytes).await.unwrap();
            all.extend(found);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    all
}

fn new_credential(owner: Owner, name: &str, expected: u64, sealed: &[u8]) -> NewCredential {
    NewCredential {
        owner,
        name: name.into(),
        expected,
        sealed: sealed.to_vec(),
        meta: "{}".into(),
        look_at_ms: None,
        now_ms: NOW,
    }
}

/// Two credentials, an answer behind one that nobody knows yet, and a visit. No two are alike.
async fn filled(world: &World) -> Owner {
    let (tenant, connection) = world.tenant_with_connection(10).await;
    let owner = Owner::Connection(connection);
    world.enqueue(tenant, &new_run(connection)).await;
    let run = world.claim_one().await;
    let intent = |seq| NewIntent {
        seq,
        sub: 0,
        fingerprint: [7; 32],
        request: "{}".into(),
        effect_key: None,
        keyed: false,
        unsafe_request: true,
        version: VersionId::from_bytes([9; 16]),
        now_ms: NOW,
    };
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.put_credential(&new_credential(owner, "oauth", 0, b"old\xff\x00-credential")).await.unwrap();
    tx.put_credential(&new_credential(owner, "webhook", 0, b"old\xff\x00-secret")).await.unwrap();
    tx.intend(&run.lease(), &intent(1)).await.unwrap();
    tx.intend(&run.lease(), &intent(2)).await.unwrap();
    let answer = NewAnswer {
        seq: 2,
        sub: 0,
        answer: b"old\xff\x00-answer".to_vec(),
        answer_ms: NOW,
        shown: "{}".into(),
        retryable: false,
        refused: false,
    };
    tx.answer(&run.lease(), &answer).await.unwrap();
    let session = NewSession {
        id: SessionId::new(NOW),
        connection,
        token_hash: [1; 32],
        return_url: None,
        second: false,
        created_ms: NOW,
        expires_ms: NOW + 9,
    };
    tx.create_session(&session).await.unwrap();
    tx.commit().await.unwrap();
    let begun = Begun {
        state_hash: &[2; 32],
        browser_hash: &[3; 32],
        pkce: Some(b"old\xff\x00-verifier"),
        webhook_secret: Some(b"old\xff\x00-given"),
    };
    let mut tx = world.store.system().await.unwrap();
    tx.begin_session(session.id, begun).await.unwrap();
    let other = SessionId::new(NOW);
    tx.commit().await.unwrap();
    let mut tx = world.store.tenant(tenant).await.unwrap();
    tx.create_session(&NewSession { id: other, token_hash: [4; 32], ..session }).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.store.system().await.unwrap();
    assert!(tx.use_session(other, NOW).await.unwrap());
    tx.offer(other, NOW, b"old\xff\x00-offer", None).await.unwrap();
    tx.commit().await.unwrap();
    owner
}

on_both! {
    /// Mutations: `SealedPlace::STARTS`, without any of them; each `REPLACE`, without `substr` behind the new head.
    async fn all_that_is_sealed_is_found_and_gets_another_head(world) {
        filled(world).await;
        for limit in [1, 100] {
            assert_eq!(heads(world, limit, 3).await.len(), 6, "in walks of {limit}");
        }
        let found = heads(world, 2, 5).await;
        assert!(found.iter().all(|(_, head)| head == b"old\xff\x00"), "{found:?}");
        let mut tx = world.store.system().await.unwrap();
        for (place, head) in &found {
            assert!(tx.replace_head(place, head, b"new\x00\xfe\x01").await.unwrap(), "{place:?}");
            assert!(!tx.replace_head(place, head, b"again").await.unwrap(), "{place:?}");
        }
        tx.commit().await.unwrap();
        let mut whole: Vec<_> = heads(world, 100, 500).await.into_iter().map(|(_, value)| value).collect();
        whole.sort();
        let behind = ["answer", "credential", "given", "offer", "secret", "verifier"];
        let expected: Vec<_> = behind.iter().map(|end| [b"new\x00\xfe\x01-", end.as_bytes()].concat()).collect();
        assert_eq!(whole, expected);
    }

    /// Mutation: each `REPLACE`, without comparing what is there.
    async fn who_wrote_another_value_meanwhile_wins(world) {
        let owner = filled(world).await;
        let found = heads(world, 100, 5).await;
        let tenant = world.store.system_read().await.unwrap().tenants(Page::first(1)).await.unwrap()[0].id;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        for name in ["oauth", "webhook"] {
            tx.put_credential(&new_credential(owner, name, 1, b"refreshed")).await.unwrap();
        }
        tx.commit().await.unwrap();
        let again = Some(b"refreshed".as_slice());
        let begun = Begun { state_hash: &[2; 32], browser_hash: &[3; 32], pkce: again, webhook_secret: again };
        let mut tx = world.store.system().await.unwrap();
        for (place, head) in &found {
            match place {
                SealedPlace::Credential { .. } => {}
                SealedPlace::Verifier(session) | SealedPlace::VisitorsSecret(session) => {
                    tx.begin_session(*session, begun).await.unwrap();
                }
                SealedPlace::Offer(session) => tx.offer(*session, NOW, b"refreshed", None).await.unwrap(),
                // No answer is ever written over; but another node may have wrapped it.
                SealedPlace::Answer(_) => assert!(tx.replace_head(place, head, b"refresh").await.unwrap()),
            }
        }
        for (place, head) in &found {
            assert!(!tx.replace_head(place, head, b"new").await.unwrap(), "{place:?}");
            assert!(tx.replace_head(place, b"refresh", b"rewrapp").await.unwrap(), "{place:?}");
        }
        tx.commit().await.unwrap();
        let kept = world.store.tenant_read(tenant).await.unwrap().credential(owner, "oauth").await.unwrap().unwrap();
        assert_eq!((kept.sealed.as_slice(), kept.generation, kept.updated_ms), (b"rewrapped".as_slice(), 2, NOW));
    }

    /// Mutations: `DELETE_ENDED`, `<`; `REPLACE`, without `ends_ms`; `END`, without the name.
    async fn a_secret_that_is_over_is_destroyed_and_one_in_its_place_is_not(world) {
        let owner = filled(world).await;
        let tenant = world.store.system_read().await.unwrap().tenants(Page::first(1)).await.unwrap()[0].id;
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.end_credential(owner, "webhook", NOW + 5).await.unwrap();
        assert_eq!(tx.credential(owner, "webhook").await.unwrap().unwrap().ends_ms, Some(NOW + 5));
        assert_eq!(tx.credential(owner, "oauth").await.unwrap().unwrap().ends_ms, None);
        tx.commit().await.unwrap();
        let sweep = async |now_ms| {
            let mut tx = world.store.system().await.unwrap();
            let swept = tx.delete_ended_credentials(now_ms).await.unwrap();
            tx.commit().await.unwrap();
            swept
        };
        assert_eq!((sweep(NOW + 4).await, sweep(NOW + 5).await, sweep(NOW + 6).await), (0, 1, 0));
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.end_credential(owner, "oauth", NOW).await.unwrap();
        tx.put_credential(&new_credential(owner, "oauth", 1, b"next")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sweep(NOW + 9).await, 0);
        let mut tx = world.store.tenant(tenant).await.unwrap();
        tx.delete_credential(owner, "none").await.unwrap();
        assert!(tx.credential(owner, "oauth").await.unwrap().is_some());
        tx.delete_credential(owner, "oauth").await.unwrap();
        assert!(tx.credential(owner, "oauth").await.unwrap().is_none());
        tx.commit().await.unwrap();
    }

    /// Mutations: `WORK`, whoever is at it; whenever; `REMOVING`, without any of its conditions; `WANTED`, always anew;
    /// `REWRAPPED`, `TRIED` and `LOOK_AGAIN`, without `wanted_ms`; `REWRAPPED`, whatever was found.
    async fn keys_are_known_once_and_one_node_at_a_time_works_for_one(world) {
        let mut tx = world.store.system().await.unwrap();
        assert!(tx.add_wrapping_key("root", Some("vault:v1:r"), NOW, None).await.unwrap());
        assert!(tx.add_wrapping_key("b", None, NOW, Some(NOW + 1)).await.unwrap());
        assert!(tx.add_wrapping_key("a", None, NOW, Some(NOW)).await.unwrap());
        assert!(!tx.add_wrapping_key("a", Some("other"), NOW + 7, Some(NOW + 7)).await.unwrap());
        tx.guard_wrapping_key("root", "vault:v2:r").await.unwrap();
        assert!(tx.guard_wrapping_key("none", "x").await.unwrap_err().is_not_found());
        tx.want_wrapping_key_gone("a", NOW + 1).await.unwrap();
        assert!(!tx.removing_wrapping_key("a", NOW).await.unwrap(), "nobody has looked");
        tx.note_rewrapped("a", NOW + 3, 2).await.unwrap();
        tx.want_wrapping_key_gone("a", NOW + 1).await.unwrap();
        assert!(!tx.removing_wrapping_key("a", NOW).await.unwrap(), "something uses it");
        tx.note_rewrapped("b", NOW + 3, 0).await.unwrap();
        tx.look_through_again("b", Some(0)).await.unwrap();
        tx.want_wrapping_key_gone("b", NOW + 1).await.unwrap();
        assert!(!tx.removing_wrapping_key("b", NOW).await.unwrap(), "it is looked through again");
        let stays = async |tx: &mut SystemTx| {
            let row = tx.wrapping_keys().await.unwrap().into_iter().find(|row| row.id == "a").unwrap();
            (row.wanted_ms, row.rewrapped_ms, row.tried_ms, row.uses)
        };
        tx.note_rewrapped("a", NOW + 4, 3).await.unwrap();
        assert_eq!(stays(&mut tx).await, (None, Some(NOW + 4), None, Some(3)));
        tx.want_wrapping_key_gone("a", NOW + 5).await.unwrap();
        tx.note_tried("a", NOW + 6, 4).await.unwrap();
        assert_eq!(stays(&mut tx).await, (None, Some(NOW + 4), Some(NOW + 6), Some(4)));
        tx.want_wrapping_key_gone("a", NOW + 7).await.unwrap();
        tx.look_through_again("a", Some(5)).await.unwrap();
        assert_eq!(stays(&mut tx).await, (None, None, Some(NOW + 6), Some(5)));
        tx.note_rewrapped("a", NOW + 4, 0).await.unwrap();
        assert!(!tx.removing_wrapping_key("a", NOW + 5).await.unwrap(), "nobody wants it to go");
        tx.want_wrapping_key_gone("a", NOW + 8).await.unwrap();
        tx.want_wrapping_key_gone("a", NOW + 9).await.unwrap();
        tx.note_rewrapped("a", NOW + 4, 0).await.unwrap();
        assert_eq!(stays(&mut tx).await, (Some(NOW + 8), Some(NOW + 4), None, Some(0)));
        assert!(tx.removing_wrapping_key("a", NOW + 5).await.unwrap());
        assert!(!tx.removing_wrapping_key("a", NOW + 6).await.unwrap(), "once");
        assert!(tx.work_for_wrapping_key("b", "me", NOW, NOW + 10).await.unwrap());
        assert!(!tx.work_for_wrapping_key("b", "you", NOW + 9, NOW + 20).await.unwrap());
        assert!(tx.work_for_wrapping_key("b", "me", NOW + 9, NOW + 20).await.unwrap());
        assert!(tx.work_for_wrapping_key("b", "you", NOW + 20, NOW + 30).await.unwrap());
        let rows = tx.wrapping_keys().await.unwrap();
        let of = |id: &str| rows.iter().find(|row| row.id == id).unwrap().clone();
        assert_eq!((of("root").guarded.as_deref(), of("root").active_ms), (Some("vault:v2:r"), None));
        assert_eq!((of("a").guarded, of("a").active_ms, of("a").rewrapped_ms), (None, Some(NOW), Some(NOW + 4)));
        assert_eq!((of("a").uses, of("a").removing_ms, of("b").removing_ms), (Some(0), Some(NOW + 5), None));
        tx.remove_wrapping_key("a").await.unwrap();
        let mut left: Vec<_> = tx.wrapping_keys().await.unwrap().into_iter().map(|row| row.id).collect();
        left.sort();
        assert_eq!(left, ["b", "root"]);
        tx.commit().await.unwrap();
    }
}

/// Bytes that are not sealed: ids and hashes, components, and what a provider sent.
const PLAIN: &[&str] = &[
    "api_keys.hash",
    "browser_hash",
    "budgets.key",
    "component_pieces.bytes",
    "component_pieces.upload",
    "components.digest",
    "components.upload",
    "deliveries.body",
    "digest",
    "fingerprint",
    "hash",
    "head",
    "id",
    "state_hash",
    "token_hash",
    "verdicts.said_by",
    "versions.digest",
];

/// A new column for bytes is in the walk, or is said here not to be sealed.
///
/// Mutation: `SealedPlace::STARTS`, without any of them.
#[tokio::test]
async fn no_column_of_sealed_values_is_left_out() {
    let world = World::on_sqlite().await;
    let file = format!("sqlite:{}", world.folder().join("store.db").display());
    let mut connection = sqlx::sqlite::SqliteConnection::connect(&file).await.unwrap();
    let rows = connection
        .fetch_all(
            "SELECT t.name AS tab, c.name AS col FROM sqlite_master t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' AND c.type = 'BLOB' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'",
        )
        .await
        .unwrap();
    let sealed: Vec<&str> = SealedPlace::STARTS.iter().map(SealedPlace::column).collect();
    let mut unsaid = Vec::new();
    for row in &rows {
        let (table, column) = (row.get::<String, _>("tab"), row.get::<String, _>("col"));
        let whole = format!("{table}.{column}");
        let is_plain = column.ends_with("_id") || PLAIN.contains(&column.as_str()) || PLAIN.contains(&whole.as_str());
        if !is_plain && !sealed.contains(&whole.as_str()) {
            unsaid.push(whole);
        }
    }
    assert!(rows.len() > 20 && unsaid.is_empty(), "sealed, or plain: {unsaid:?}");
}
