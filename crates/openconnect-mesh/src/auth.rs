//! Who may connect, and what they may do.
//!
//! Passwords and tokens are kept and compared as digests: the comparison takes the same time wherever a wrong one differs,
//! however long it is, and whether there is such a user or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::digest::{Digest, SHA256, digest};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{Config, Rights};
use crate::refusal::Refusal;

/// What somebody who wants in says.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Credentials<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
}

/// Somebody who was let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// None when everybody is let in.
    name: Option<Arc<str>>,
}

/// What a user wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Publish,
    Subscribe,
    /// Subscribe in this consumer group.
    Join,
}

/// The users, their passwords and rights.
#[derive(Debug)]
pub(crate) struct Gate {
    passwords: Vec<Known>,
    tokens: Vec<Known>,
    rights: BTreeMap<String, Rights>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    name_digest: Digest,
    secret: Digest,
}

impl Gate {
    pub(crate) fn new(config: &Config) -> Self {
        let known = |secrets: &BTreeMap<String, openconnect_config::secret::Secret>| {
            let known = |(name, secret): (&String, &openconnect_config::secret::Secret)| Known {
                name: name.as_str().into(),
                name_digest: digest(&SHA256, name.as_bytes()),
                secret: digest(&SHA256, secret.expose().as_bytes()),
            };
            secrets.iter().map(known).collect()
        };
        Self {
            passwords: known(&config.users),
            tokens: known(&config.tokens),
            rights: config.rights.clone(),
        }
    }

    /// Lets in whoever gives the name and password of a user, or a user's token.
    pub(crate) fn enter(&self, given: Credentials<'_>) -> Result<User, Refusal> {
        if self.passwords.is_empty() && self.tokens.is_empty() {
            return Ok(User::default());
        }
        let name = digest(&SHA256, given.name.unwrap_or_default().as_bytes());
        let password = digest(&SHA256, given.password.unwrap_or_default().as_bytes());
        let token = digest(&SHA256, given.token.unwrap_or_default().as_bytes());
        let by_password = find(&self.passwords, |known| {
            known.name_digest.as_ref().ct_eq(name.as_ref()) & known.secret.as_ref().ct_eq(password.as_ref())
        });
        let by_token = find(&self.tokens, |known| known.secret.as_ref().ct_eq(token.as_ref()));
        match by_password.or(by_token) {
            Some(name) => Ok(User { name: Some(name) }),
            None => Err(Refusal::denied("unknown user name or wrong password")),
        }
    }

    /// Whether the user may do that to the topic or group `name`.
    pub(crate) fn check(&self, user: &User, action: Action, name: &str) -> Result<(), Refusal> {
        let Some(who) = &user.name else { return Ok(()) };
        if self.rights.is_empty() {
            return Ok(());
        }
        let rights = self.rights.get(&**who).or_else(|| self.rights.get("*"));
        let patterns = rights.map_or(&[][..], |rights| match action {
            Action::Publish => &rights.publish,
            Action::Subscribe => &rights.subscribe,
            Action::Join => &rights.groups,
        });
        if patterns.iter().any(|pattern| matches(pattern, name)) {
            return Ok(());
        }
        let what = match action {
            Action::Publish => "publish to topic",
            Action::Subscribe => "subscribe to topic",
            Action::Join => "subscribe in group",
        };
        Err(Refusal::denied(format!("user `{who}` has no auth to {what} `{name}`")))
    }
}

/// The one that fits; looks at all of them.
fn find(known: &[Known], fits: impl Fn(&Known) -> Choice) -> Option<Arc<str>> {
    let mut found = None;
    for one in known {
        if bool::from(fits(one)) {
            found = Some(Arc::clone(&one.name));
        }
    }
    found
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use openconnect_config::secret::Secret;

    fn gate() -> Gate {
        let mut config = Config::default();
        config.users.insert("ann".to_owned(), Secret::new("p").unwrap());
        config.users.insert("bob".to_owned(), Secret::new("q").unwrap());
        config.tokens.insert("robot".to_owned(), Secret::new("t0ken").unwrap());
        config.rights.insert(
            "ann".to_owned(),
            Rights {
                publish: vec!["orders".to_owned(), "eu.*".to_owned()],
                subscribe: vec!["*".to_owned()],
                groups: vec!["ann-*".to_owned()],
            },
        );
        Gate::new(&config)
    }

    fn enter(name: &str, password: &str, token: &str) -> Result<User, Refusal> {
        gate().enter(Credentials {
            name: Some(name),
            password: Some(password),
            token: Some(token),
        })
    }

    #[test]
    fn only_the_right_password_or_token_opens() {
        assert_eq!(enter("ann", "p", "").unwrap().name.as_deref(), Some("ann"));
        assert_eq!(enter("", "", "t0ken").unwrap().name.as_deref(), Some("robot"));
        for (name, password, token) in [
            ("ann", "q", ""),
            ("ann", "", ""),
            ("ann", "pp", ""),
            ("", "p", ""),
            ("eve", "p", ""),
            ("robot", "t0ken", ""),
            ("robot", "", ""),
            ("", "", "t0ke"),
        ] {
            let refused = enter(name, password, token).unwrap_err();
            assert!(refused.reason.contains("AclException"), "{name} {password} {token}");
        }
        assert!(gate().enter(Credentials::default()).is_err());
        assert_eq!(
            Gate::new(&Config::default()).enter(Credentials::default()).unwrap(),
            User::default()
        );
    }

    #[test]
    fn rights_are_names_and_beginnings() {
        let (gate, ann) = (gate(), enter("ann", "p", "").unwrap());
        let may = |action, name| gate.check(&ann, action, name).is_ok();
        assert!(may(Action::Publish, "orders") && may(Action::Publish, "eu.sales") && may(Action::Publish, "eu."));
        assert!(!may(Action::Publish, "orders2") && !may(Action::Publish, "eu") && !may(Action::Publish, ""));
        assert!(may(Action::Subscribe, "anything") && may(Action::Join, "ann-1") && !may(Action::Join, "bobs"));
        let bob = enter("bob", "q", "").unwrap();
        let refused = gate.check(&bob, Action::Publish, "orders").unwrap_err();
        assert_eq!(refused.reason, "AclException: user `bob` has no auth to publish to topic `orders`");
    }
}
