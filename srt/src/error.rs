//! What the library says when it cannot do something.

#![expect(unsafe_code, reason = "it reads what the library says of a failure")]

use std::ffi::CStr;
use std::ptr;

use crate::sys;

/// Why the library did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// A code of the library (`SRT_ERRNO`).
    code: i32,
    text: String,
}

impl Error {
    /// Of the last call on this thread.
    pub(crate) fn last() -> Self {
        let mut errno = 0;
        // SAFETY: it writes to the integer and reads what this thread has.
        let code = unsafe { sys::srt_getlasterror(&raw mut errno) };
        if errno != 0 {
            let reason = std::io::Error::from_raw_os_error(errno).to_string();
            let text = match reason.split_once(" (os error") {
                Some((text, _)) => text.to_owned(),
                None => reason,
            };
            return Self { code, text };
        }
        // SAFETY: the library returns a text of its own (of this thread), which no other call
        // of this thread changes before it is copied.
        let text = unsafe { text(sys::srt_strerror(code, errno)) };
        let text = match code {
            sys::E_BINDCONFLICT => "Address already in use".to_owned(),
            _ => text,
        };
        Self { code, text }
    }

    /// Of the system.
    pub(crate) fn of_system(error: &std::io::Error) -> Self {
        Self {
            code: sys::ERROR,
            text: error.to_string(),
        }
    }

    /// It would have had to wait.
    pub(crate) fn would_block(&self) -> bool {
        (sys::E_ASYNCFAIL..sys::E_PEERERR).contains(&self.code)
    }

    /// Somebody has ended the epoll.
    pub(crate) fn is_released(&self) -> bool {
        self.code == sys::E_INVPOLLID
    }
}

/// A reason of rejection in words.
pub(crate) fn reject_text(code: i32) -> String {
    // SAFETY: the library returns a constant text for any code.
    unsafe { text(sys::srt_rejectreason_str(code)) }
}

/// # Safety
/// `pointer` is null or a text that ends with a zero and stays as it is for this call.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if ptr::eq(pointer, ptr::null()) {
        return "unknown".to_owned();
    }
    // SAFETY: as promised by the caller.
    let text = unsafe { CStr::from_ptr(pointer) }.to_string_lossy();
    text.trim_end_matches('.').to_owned()
}
