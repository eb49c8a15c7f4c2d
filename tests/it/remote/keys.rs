//! One token that sends as many idempotency keys as it can, and everybody else.

use serde_json::{Value, json};

use super::client::{Client, request};
use super::service::{place, said};
use crate::support::load;

#[test]
fn a_token_can_neither_fill_the_keys_with_nothing_nor_take_more_than_its_share() {
    const KEYS_MAX: u64 = 40;
    let (mut place, address) = place();
    place.set(&[("idempotency_keys_max", &KEYS_MAX.to_string())]);
    let mut service = place.start();
    load::register(&service);
    let token = said(&place, &["token", "create", "--name", "greedy", "--scope", "work"]).trim().to_owned();
    let mut greedy = Client::tls(address, &place.path("remote/certificate.pem"));
    let mut batch = |lines: Vec<Value>| -> Vec<Value> {
        let text = lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n");
        greedy.send(request("POST", "/batch", Some(&token), text.as_bytes()));
        let answer = greedy.answer().expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let create =
        |key: String| json!({ "op": "create", "workflow": "order", "data": { "customer": "x" }, "key": key });
    let mut local = service.client();
    let mut others = |key: &str| {
        let order = json!({ "workflow": "order", "data": { "customer": "Ann" } });
        local.post("/cases", Some(key), &order).unwrap().expect(201)
    };

    let case = batch(vec![create("first".to_owned())])[0]["body"]["id"].clone();
    let nothing = |number| json!({ "op": "execute", "case": case, "key": format!("nothing-{number}") });
    for hundred in 0..5_u64 {
        // No more lines at once than there are places: those under way have one each.
        for answer in batch((0..20).map(|number| nothing(hundred * 20 + number)).collect()) {
            assert_eq!(
                (&answer["status"], &answer["body"]["remembered"]),
                (&json!(200), &json!(false)),
                "{answer}"
            );
        }
    }
    others("others-1");

    let created: Vec<Value> =
        (0..KEYS_MAX).map(|number| batch(vec![create(format!("many-{number}"))]).remove(0)).collect();
    let refused: Vec<&Value> = created.iter().filter(|answer| answer["status"] != 201).collect();
    assert!(!refused.is_empty() && refused.len() < created.len(), "{} of {KEYS_MAX}", refused.len());
    for answer in refused {
        assert_eq!((&answer["status"], &answer["body"]["code"]), (&json!(503), &json!("KN0314")), "{answer}");
        assert!(answer["body"]["retry_after_seconds"].as_u64().unwrap() > 80_000, "{answer}");
    }
    others("others-2");
    assert!(service.stop().success(), "{}", place.log());
}
