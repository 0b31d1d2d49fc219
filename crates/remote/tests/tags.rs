//! Lists of tags: as registries give them, and as they should not.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use remote::{Described, Error, push};
use support::{Fake, Image, Program, Seen, client, status, store};

/// A page with a link to what is at `next`.
fn page(tags: &[&str], next: Option<&str>) -> Response {
    let mut response = Response::builder();
    if let Some(next) = next {
        response = response.header("link", format!("<{next}>; rel=\"next\""));
    }
    response.body(Body::from(serde_json::json!({"name": support::NAME, "tags": tags}).to_string())).unwrap()
}

async fn tags(
    quirk: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static,
) -> Result<Vec<String>, Error> {
    let fake = Fake::start(move |seen| Some(quirk(seen))).await;
    client().tags(&fake.reference("x")).await
}

#[tokio::test]
async fn a_real_registry_lists_what_was_pushed() {
    let Some(program) = Program::start() else { return };
    let (_dir, store) = store();
    let image = Described::in_store(&store, &Image::new(100, 1).put(&store)).await.unwrap();
    assert!(matches!(client().tags(&program.reference("x")).await, Err(Error::NotFound { .. })));
    for tag in ["v1.0.0", "v1.1.0", "latest"] {
        push(&store, &client(), &program.reference(tag), &image).await.unwrap();
    }
    let mut tags = client().tags(&program.reference("x")).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["latest", "v1.0.0", "v1.1.0"]);
}

#[tokio::test]
async fn pages_are_followed_and_what_is_no_tag_is_left_out() {
    let base = format!("/v2/{}/tags/list", support::NAME);
    let found = tags(move |seen| match (seen.query.as_str(), seen.before) {
        // A registry that is busy once is asked again.
        ("n=1000", 0) => status(503, ""),
        ("n=1000", _) => page(&["a", "../b", ""], Some(&format!("{base}?last=a"))),
        ("last=a", _) => page(&["c"], Some("?last=c")),
        _ => page(&["d"], None),
    })
    .await;
    assert_eq!(found.unwrap(), ["a", "c", "d"]);
    assert_eq!(tags(|_| status(200, r#"{"name":"x","tags":null}"#)).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn lists_without_an_end_or_from_elsewhere_are_refused() {
    let endless = tags(|_| page(&[], Some("?last=a"))).await.unwrap_err();
    assert!(endless.to_string().contains("before the last"), "{endless}");

    let many: String = (0..20_000).fold(String::new(), |mut text, i| {
        write!(text, "\"t{i}\",").unwrap();
        text
    });
    let many = format!(r#"{{"tags":[{}]}}"#, many.trim_end_matches(','));
    let body = many.clone();
    let more = move |_: &Seen| {
        Response::builder().header("link", "<?x>; rel=next").body(Body::from(body.clone())).unwrap()
    };
    let error = tags(more).await.unwrap_err();
    assert!(error.to_string().contains("100 000"), "{error}");

    let elsewhere = tags(|_| page(&["a"], Some("http://127.0.0.1:9/v2/x"))).await.unwrap_err();
    assert!(elsewhere.to_string().contains("same registry"), "{elsewhere}");
    for wrong in ["", "[]", r#"{"tags":[1]}"#, r#"{"tags":"a"}"#] {
        let error = tags(move |_| status(200, wrong)).await.unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. }), "{wrong}: {error}");
    }
    let long = "x".repeat(5 << 20);
    let error = tags(move |_| status(200, &long)).await.unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
}
