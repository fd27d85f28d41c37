//! Logging in where a registry shows people a token.

use cog_image::registry::LoginError;

use super::{client, run};
use crate::server::{Answer, Content, Server};

fn server(status: u16, body: &'static str) -> Server {
    Server::start_with(Content::default(), move |_, _| {
        Some(Answer {
            status,
            ..Answer::ok(body)
        })
    })
}

fn page(server: &Server) -> Result<String, String> {
    let url = run(client().display_token_url(&server.address));
    url.map_err(|error| error.to_string())
}

fn user(server: &Server, token: &str) -> Result<String, String> {
    let user = run(client().verify_token(&server.address, token));
    user.map_err(|error| error.to_string())
}

#[test]
fn tokens_are_shown_and_verified() {
    let shows = server(200, r#"{"url":"https://example.com/token","more":1}"#);
    assert_eq!(page(&shows).as_deref(), Ok("https://example.com/token"));
    assert_eq!(shows.log(), ["GET /cog/v1/display-token-url"]);
    let verifies = server(200, r#"{"username":"me"}"#);
    assert_eq!(user(&verifies, "a b&c").as_deref(), Ok("me"));
    let requests = verifies.requests();
    let request = &requests[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/cog/v1/verify-token")
    );
    assert_eq!(request.body, "token=a+b%26c");
}

#[test]
fn refusals_say_what_is_wrong() {
    let absent = server(404, "");
    let address = &absent.address;
    let expected = format!("{address} is not the Replicate registry");
    assert_eq!(page(&absent), Err(expected));
    assert_eq!(user(&absent, "x"), Err("user does not exist".into()));
    let broken = server(502, "");
    assert_eq!(
        user(&broken, "x"),
        Err("failed to verify token, got status 502".into())
    );
    assert!(page(&broken).unwrap_err().ends_with("got status 502"));
    for body in [
        "",
        "[]",
        r#"{"url":1,"username":""}"#,
        r#"{"url":"file:///etc/passwd","username":"a\u001b[31m"}"#,
    ] {
        let odd = server(200, body);
        let invalid = format!("{} gave an invalid answer", odd.address);
        assert_eq!(page(&odd), Err(invalid.clone()), "{body}");
        assert_eq!(user(&odd, "x"), Err(invalid), "{body}");
    }
}

#[test]
fn tokens_do_not_follow_redirects() {
    let thief = server(200, r#"{"username":"thief"}"#);
    let target = format!("http://{}/", thief.address);
    let registry = Server::start_with(Content::default(), move |_, _| {
        Some(Answer::status(307).with("Location", target.clone()))
    });
    let error = run(client().verify_token(&registry.address, "secret")).unwrap_err();
    assert!(
        matches!(error, LoginError::Unverified { status: 307 }),
        "{error}"
    );
    assert!(thief.requests().is_empty());
}
