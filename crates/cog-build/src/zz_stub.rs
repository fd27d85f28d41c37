#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct DebianError;
impl DebianError {
    pub fn is_unreachable(&self) -> bool {
        false
    }
}
