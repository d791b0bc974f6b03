//! Names of topics and consumer groups: what may be one.

/// Longest name of a consumer group, in bytes.
pub const MAX_GROUP_BYTES: usize = 255;
/// Longest name of a topic, in bytes, where each byte other than an ASCII letter, a digit, `-`, `_` and `.` counts for three:
/// `openconnect-mesh` makes a folder of it. EventMesh on RocketMQ takes 127 letters, digits, `-`, `_` and `%` (its broker says so).
pub const MAX_TOPIC_BYTES: usize = 200;

/// Checks the name of a topic.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence about it.
pub fn check_topic(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        return Err("is empty");
    }
    if name.chars().any(char::is_control) {
        return Err("has control characters");
    }
    let bytes: usize = name.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    match bytes > MAX_TOPIC_BYTES {
        true => Err("is too long: 200 letters and digits at the most, other characters count more"),
        false => Ok(()),
    }
}

/// Checks the name of a consumer group.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence about it.
pub fn check_group(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        return Err("is empty");
    }
    if name.chars().any(char::is_control) {
        return Err("has control characters");
    }
    match name.len() > MAX_GROUP_BYTES {
        true => Err("is longer than 255 bytes"),
        false => Ok(()),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}
