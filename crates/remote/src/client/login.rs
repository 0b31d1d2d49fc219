//! Requests with the login that a registry asks for.
//!
//! ```text
//! request ──▶ 401, challenge ──▶ secret of ours ──▶ token of the realm ──▶ request, with it
//! ```
//!
//! Source: the distribution's token specification; RFC 7235.

use std::time::{Duration, Instant, SystemTime};

use ::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{Method, StatusCode};
use url::Url;
use url::form_urlencoded::Serializer;

use super::{Access, Client, Inner};
use crate::auth::{Challenge, MAX_TOKEN_ANSWER_LEN, TokenAnswer, challenge};
use crate::credentials::{Found, Secret};
use crate::error::Login;
use crate::http::{Answer, Ask, Sent, at, target};
use crate::retry::retry_after;
use crate::{Error, Reference};

/// Who asks for a token in exchange for another.
const CLIENT_ID: &str = "image-factory";

impl Client {
    /// The good answer to `ask`, which goes to the registry of `repository` or to where that has sent us; with the
    /// login that it wants.
    pub(crate) async fn ask(
        &self,
        repository: &Reference,
        access: Access,
        mut ask: Ask,
    ) -> Result<Answer, Error> {
        let Inner { http, tokens, .. } = &*self.inner;
        let registry = repository.registry();
        let base = self.base(registry)?;
        let origin = base.origin();
        let key = origin.ascii_serialization();
        let actions = if access == Access::Pull { "pull" } else { "pull,push" };
        let scope = format!("repository:{}:{actions}", repository.name());
        if ask.url.origin() == origin {
            ask.authorization = tokens.get(&key, &scope, Instant::now());
        }
        let mut answer = http.send(&ask).await?;
        // Only the registry itself may ask who we are: not where it redirects to.
        if answer.status == StatusCode::UNAUTHORIZED
            && answer.url.origin() == origin
            && ask.url.origin() == origin
        {
            let values =
                answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
            let challenge = challenge(values);
            let secret = if challenge.is_some() { self.secret(repository).await? } else { None };
            let later = |after| Instant::now() + after;
            let authorization = match (challenge, secret) {
                (Some(_), Some(Secret::Token(token))) => {
                    Some((format!("Bearer {token}"), later(Duration::from_hours(1))))
                }
                (Some(Challenge::Basic), Some(Secret::Basic(login))) => {
                    Some((login.header(), later(Duration::from_hours(1))))
                }
                // An identity token is for a realm.
                (None | Some(Challenge::Basic), _) => None,
                (Some(Challenge::Bearer { realm, service }), secret) => {
                    Some(self.token(&base, repository, &realm, service, &scope, secret).await?)
                }
            };
            let authorization = authorization.map(|(header, expires)| {
                tokens.put(&key, &scope, header.clone(), expires);
                header
            });
            if authorization.is_some() {
                ask.authorization = authorization;
                answer = http.send(&ask).await?;
            }
        }
        self.judge(repository, answer).await
    }

    /// The secret for `repository`, from a helper if one has it.
    async fn secret(&self, repository: &Reference) -> Result<Option<Secret>, Error> {
        let Inner { helped, options, .. } = &*self.inner;
        match options.credentials.find(repository) {
            Found::Secret(secret) => Ok(Some(secret.clone())),
            Found::Helper(name) => helped.get(name, repository.registry(), options.helper).await,
            Found::Nothing => Ok(None),
        }
    }

    /// Who we are to the registry of `repository`, as far as somebody was asked.
    async fn who(&self, repository: &Reference) -> Login {
        let Inner { helped, options, .. } = &*self.inner;
        let of = |secret: &Secret| match secret {
            Secret::Basic(login) => Login::User(login.user.clone()),
            Secret::Identity(_) | Secret::Token(_) => Login::Token,
        };
        match options.credentials.find(repository) {
            Found::Secret(secret) => of(secret),
            Found::Helper(name) => {
                let secret = helped.known(name, repository.registry()).await;
                secret.as_ref().map_or_else(|| Login::Helper(name.to_owned()), of)
            }
            Found::Nothing => Login::Anonymous,
        }
    }

    /// A token from `realm`, which wants our login if we have one.
    async fn token(
        &self,
        base: &Url,
        repository: &Reference,
        realm: &str,
        service: Option<String>,
        scope: &str,
        secret: Option<Secret>,
    ) -> Result<(String, Instant), Error> {
        let Inner { http, .. } = &*self.inner;
        let plain = base.scheme() == "http";
        // Never over plain HTTP for a registry that is spoken to over TLS.
        let url = target(base, realm, plain)?;
        let mut ask = token_ask(url, service.as_deref(), scope, secret.as_ref());
        ask.plain = plain;
        ask.authorization = match &secret {
            Some(Secret::Basic(login)) => Some(login.header()),
            _ => None,
        };
        let answer = self.judge(repository, http.send(&ask).await?).await?;
        let place = at(&answer.url);
        let bytes = answer.body.bytes("answer with a token", MAX_TOKEN_ANSWER_LEN).await?;
        // The parser's own words could quote the token.
        let token = serde_json::from_slice::<TokenAnswer>(&bytes).ok().and_then(|t| t.header(Instant::now()));
        token.ok_or(Error::BadAnswer { at: place, wanted: "a token is text in `token` or `access_token`" })
    }

    /// `answer` if its status is good.
    async fn judge(&self, repository: &Reference, answer: Answer) -> Result<Answer, Error> {
        let (place, status) = (at(&answer.url), answer.status.as_u16());
        match status {
            200..=299 => Ok(answer),
            404 => Err(Error::NotFound { at: place }),
            401 | 403 => {
                let login = self.who(repository).await;
                Err(Error::Denied { at: place, login, status, excerpt: answer.explanation().await })
            }
            _ => {
                let header = answer.header(RETRY_AFTER);
                let retry_after = header.and_then(|value| retry_after(value, SystemTime::now()));
                Err(Error::Status { at: place, status, retry_after, excerpt: answer.explanation().await })
            }
        }
    }
}

/// The request for a token to the realm `url`.
fn token_ask(mut url: Url, service: Option<&str>, scope: &str, secret: Option<&Secret>) -> Ask {
    let mut fields = Serializer::new(String::new());
    if let Some(service) = service {
        fields.append_pair("service", service);
    }
    fields.append_pair("scope", scope);
    if let Some(Secret::Identity(token)) = secret {
        fields.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token);
        fields.append_pair("client_id", CLIENT_ID);
        let form = [(ACCEPT, "application/json"), (CONTENT_TYPE, "application/x-www-form-urlencoded")];
        let body = Sent::Secret(fields.finish().into());
        Ask { method: Method::POST, body, ..Ask::get(url, &form) }
    } else {
        // A realm may have a query of its own.
        let own = url.query().filter(|own| !own.is_empty()).map(|own| format!("{own}&"));
        url.set_query(Some(&format!("{}{}", own.unwrap_or_default(), fields.finish())));
        Ask::get(url, &[(ACCEPT, "application/json")])
    }
}
