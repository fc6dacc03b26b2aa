//! One address of an app, and tenants who know nothing of each other.

use super::*;

/// The bookkeeper of two businesses sees both companies; each of her tenants sees what is its own, once.
///
/// Mutations: host/engine/src/ingress.rs, `delivery`, the dedupe key without the connection: the second tenant's part is
/// taken for the first's; `connections_of`, the first one; `parts`, with the whole body.
#[tokio::test]
async fn what_comes_for_two_tenants_reaches_both_once_and_neither_sees_the_others() {
    let mut shop = authorizing::shop().await;
    let first = shop.quickbooks_connection.clone();
    let one = shop.tenant.clone();
    let two = shop.host.tenant("The bookkeeper").await.id().to_owned();
    shop.tenant.clone_from(&two);
    let (second, third) = (shop.new_books().await, shop.new_books().await);
    shop.authorize_books(&second).await;
    assert_eq!(authorizing::authorize(&shop, &third, OTHER_REALM).await.status, 200);
    let batch = [items_of(REALM, 2), items_of(OTHER_REALM, 1), items_of("nobodys", 1)].concat();
    for _ in 0..2 {
        assert_eq!(tell_app_of(&shop, &batch).await.status, 200);
    }
    let of = async |tenant: &str, connection: &str| -> Vec<(String, u64)> {
        let path = format!("/v1/deliveries?connection={connection}");
        let kept = items(&shop.host.tenant_by_id(tenant), &path).await;
        let bytes = |kept: &Value| kept["body_bytes"].as_u64().unwrap();
        assert!(kept.iter().all(|kept| kept["status"] != "unrouted"), "{kept:#?}");
        let mut kept: Vec<_> = kept.iter().map(|kept| ("kept".to_owned(), bytes(kept))).collect();
        kept.sort();
        kept
    };
    let each = |account: &str, count: usize| -> Vec<(String, u64)> {
        let parts = items_of(account, count).into_iter();
        parts.map(|item| ("kept".to_owned(), item.to_string().len() as u64)).collect()
    };
    assert_eq!(of(&one, &first).await, each(REALM, 2));
    assert_eq!(of(&two, &second).await, each(REALM, 2));
    assert_eq!(of(&two, &third).await, each(OTHER_REALM, 1));
    assert_eq!(items(&shop.host.tenant_by_id(&one), "/v1/deliveries").await.len(), 2);
    assert_eq!(items(&shop.host.tenant_by_id(&two), "/v1/deliveries").await.len(), 3);
    // Nor by name.
    let asked = shop.host.tenant_by_id(&one).get(&format!("/v1/deliveries?connection={second}")).await;
    assert!(asked.status == 404 || asked.body["items"] == json!([]), "{asked:?}");
    let unrouted = shop.host.operator(Method::GET, "/v1/deliveries", None).await.ok();
    let nobodys = unrouted["items"].as_array().unwrap();
    assert!(nobodys.len() == 1 && nobodys[0]["duplicates"] == 1, "{unrouted:#}");
}
