//! Who may connect.

use subtle::ConstantTimeEq;

use crate::config::Config;

/// Whether name and password are those of a user; everybody is welcome when there are no users. Takes the same time
/// wherever a wrong password differs, and also for an unknown name.
pub(crate) fn may_connect(config: &Config, name: Option<&str>, password: Option<&str>) -> bool {
    if config.users.is_empty() {
        return true;
    }
    let given = password.unwrap_or_default().as_bytes();
    let known = name.and_then(|n| config.users.get(n));
    let expected = known.map_or(&b"no such user"[..], |p| p.bytes());
    bool::from(expected.ct_eq(given)) && known.is_some()
}
