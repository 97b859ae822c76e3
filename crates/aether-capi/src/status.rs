//! What every function returns, and what the last failure of a thread was.

use std::{
    any::Any,
    cell::RefCell,
    ffi::{CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
};

use aether_ipc::Error;

/// What came of a call. The numbers never change; later versions may add some.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum aether_status {
    /// Done.
    Ok = 0,
    /// The ring has no space for the message now: back-pressure. Nothing was written.
    Full = 1,
    /// The payload is larger than an empty ring could ever take; the error's `value` is the largest possible.
    TooLarge = 2,
    /// The ring is full and no consumer is there; see `aether_producer_require_consumer`.
    NoConsumer = 3,
    /// The ring is empty and no producer is there; see `aether_consumer_require_producer`.
    Closed = 4,
    /// A wait ended without what it waited for.
    TimedOut = 5,
    /// The handle was inherited through `fork`: open the buffer again in the child.
    Forked = 6,
    /// Messages were overwritten before they were read; the error's `value` is how many bytes. Reported once.
    Lagged = 7,
    /// The bytes in the ring break the format, at the error's `lane` and `position`. Nothing was delivered.
    Corrupt = 8,
    /// Another process or another handle holds the role.
    RoleTaken = 9,
    /// The capacity is not one that a ring can have.
    Capacity = 10,
    /// A combination of options that no ring can have.
    Options = 11,
    /// The name of a consumer is not possible or not known.
    Name = 12,
    /// The file is a ring of another shape than the one asked for.
    Mismatch = 13,
    /// The file is no ring.
    NotARing = 14,
    /// The file's format version is not known to this library.
    Version = 15,
    /// The file is shorter than its header says.
    Truncated = 16,
    /// No file at that path.
    NotFound = 17,
    /// `aether_buffer_create_new` found a file there.
    AlreadyExists = 18,
    /// The path names something that is no regular file.
    NotAFile = 19,
    /// The system refuses access.
    Permission = 20,
    /// The file system has no space for the ring.
    NoSpace = 21,
    /// Anything else that the system reported; the error's `os_error` has its number.
    Io = 22,
    /// Bytes that are no whole number of records.
    Layout = 23,
    /// What was written into reserved space is not whole records; the error's `value` is where.
    Record = 24,
    /// An argument is null, out of its range or not UTF-8, or the call does not fit what was called before.
    Argument = 25,
    /// A bug in this library, caught before it reached the caller.
    Internal = 26,
}

/// The last failure of a thread.
#[repr(C)]
pub struct aether_error {
    /// What it was; `AETHER_STATUS_OK` if there was none yet.
    pub status: aether_status,
    /// The system's error number; 0 if the system had no part in it.
    pub os_error: i32,
    /// Where, for `AETHER_STATUS_CORRUPT`.
    pub lane: u32,
    /// Where, for `AETHER_STATUS_CORRUPT`: in bytes since the ring was made.
    pub position: u64,
    /// A number for some of the statuses, which say what it means.
    pub value: u64,
    /// In words: what was found, what was expected, where, and what to do. UTF-8, never null.
    pub message: *const c_char,
}

// SAFETY: the pointer of the one static value is to a literal.
unsafe impl Sync for aether_error {}

/// Why a function does not return `Ok`.
#[derive(Debug)]
pub(crate) enum Failure {
    Ring(Error),
    Argument(&'static str, &'static str),
    Panic(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ring(error)
    }
}

impl Failure {
    fn status(&self) -> aether_status {
        use aether_status as status;
        match self {
            Failure::Argument(..) => status::Argument,
            Failure::Panic(_) => status::Internal,
            Failure::Ring(error) => match error {
                Error::Full => status::Full,
                Error::TooLarge { .. } => status::TooLarge,
                Error::NoConsumer => status::NoConsumer,
                Error::Closed => status::Closed,
                Error::TimedOut { .. } => status::TimedOut,
                Error::Forked => status::Forked,
                Error::Lagged { .. } => status::Lagged,
                Error::Corrupt { .. } => status::Corrupt,
                Error::RoleTaken { .. } => status::RoleTaken,
                Error::Capacity { .. } => status::Capacity,
                Error::Options(_) => status::Options,
                Error::Name { .. } => status::Name,
                Error::Mismatch { .. } => status::Mismatch,
                Error::NotARing { .. } => status::NotARing,
                Error::Version { .. } => status::Version,
                Error::Truncated { .. } => status::Truncated,
                Error::NotFound { .. } => status::NotFound,
                Error::AlreadyExists { .. } => status::AlreadyExists,
                Error::NotAFile { .. } => status::NotAFile,
                Error::Permission { .. } => status::Permission,
                Error::NoSpace { .. } => status::NoSpace,
                Error::Io { .. } => status::Io,
                Error::Layout { .. } => status::Layout,
                Error::Record { .. } => status::Record,
                // The enum may grow; a variant without a number here is this library's mistake.
                _ => status::Internal,
            },
        }
    }

    fn message(&self) -> String {
        match self {
            Failure::Ring(error) => error.to_string(),
            Failure::Argument(name, problem) => format!("argument `{name}`: {problem}"),
            Failure::Panic(message) => format!("a bug in aether-ipc, please report it: {message}"),
        }
    }
}

/// What a thread keeps of its last failure. The words are only put together when they are asked for.
struct Last {
    failure: Option<Failure>,
    message: Option<CString>,
    shown: aether_error,
}

const NONE: aether_error =
    aether_error { status: aether_status::Ok, os_error: 0, lane: 0, position: 0, value: 0, message: c"".as_ptr() };
static NOTHING: aether_error = NONE;

thread_local! {
    static LAST: RefCell<Last> =
        const { RefCell::new(Last { failure: None, message: None, shown: NONE }) };
}

/// The last failure of the calling thread. It stays as it is until the next call of this thread that fails; calls that
/// succeed don't touch it. Never null, and not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn aether_last_error() -> *const aether_error {
    // A thread that is ending may have lost its last failure already.
    LAST.try_with(|last| last.try_borrow_mut().map_or(&raw const NOTHING, |mut last| last.show()))
        .unwrap_or(&raw const NOTHING)
}

impl Last {
    fn show(&mut self) -> *const aether_error {
        let Some(failure) = self.failure.take() else { return &raw const self.shown };
        // No message has a zero in it, but a path or a name might.
        let message = CString::new(failure.message().replace('\0', "\u{fffd}")).unwrap_or_default();
        self.shown = aether_error { status: failure.status(), message: self.message.insert(message).as_ptr(), ..NONE };
        if let Failure::Ring(error) = failure {
            match error {
                Error::TooLarge { max, .. } => self.shown.value = max as u64,
                Error::Lagged { bytes } => self.shown.value = bytes,
                Error::Record { offset, .. } => self.shown.value = offset,
                Error::Corrupt { lane, position, .. } => (self.shown.lane, self.shown.position) = (lane, position),
                Error::Io { source, .. } | Error::NoSpace { source, .. } => {
                    self.shown.os_error = source.raw_os_error().unwrap_or(0);
                }
                _ => {}
            }
        }
        &raw const self.shown
    }
}

/// Runs the body of a function that C calls: nothing unwinds out of it, and a failure is remembered.
#[inline]
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> aether_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => aether_status::Ok,
        Ok(Err(failure)) => remember(failure),
        Err(panic) => remember(Failure::Panic(words(&*panic))),
    }
}

fn remember(failure: Failure) -> aether_status {
    let status = failure.status();
    // On a thread that is ending, the status has to do.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            last.failure = Some(failure);
        }
    });
    status
}

fn words(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it did not say what".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{ffi::CStr, io, path::PathBuf, time::Duration};

    use aether_ipc::{Corruption, HeaderFault};

    use super::*;

    fn message() -> String {
        // SAFETY: never null, and no other call is made meanwhile.
        unsafe { CStr::from_ptr((*aether_last_error()).message) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn every_error_of_the_library_has_the_number_that_the_header_promises() {
        let path = || PathBuf::from("ring");
        let other = || io::Error::from_raw_os_error(28);
        let reason = Corruption::Misaligned { cursor: 1 };
        let fault = HeaderFault::TooSmall { size: 1, header: 2 };
        let errors = [
            (1, Error::Full),
            (2, Error::TooLarge { payload: 2, max: 1 }),
            (3, Error::NoConsumer),
            (4, Error::Closed),
            (5, Error::TimedOut { waited: Duration::ZERO, awaited: "it" }),
            (6, Error::Forked),
            (7, Error::Lagged { bytes: 1 }),
            (8, Error::Corrupt { lane: 0, position: 0, reason }),
            (9, Error::RoleTaken { path: path(), role: "producer".into(), holders: vec![] }),
            (10, Error::Capacity { capacity: 1, min: 2, max: 3 }),
            (11, Error::Options("no")),
            (12, Error::Name { name: "\0".into(), reason: "no" }),
            (13, Error::Mismatch { path: path(), field: "capacity", found: 1, expected: 2 }),
            (14, Error::NotARing { path: path(), reason: fault }),
            (15, Error::Version { path: path(), found: 2, known: 1 }),
            (16, Error::Truncated { path: path(), found: 1, expected: 2 }),
            (17, Error::NotFound { path: path() }),
            (18, Error::AlreadyExists { path: path() }),
            (19, Error::NotAFile { path: path(), found: "a directory" }),
            (20, Error::Permission { path: path(), operation: "open" }),
            (21, Error::NoSpace { path: path(), size: 1, source: other() }),
            (22, Error::Io { path: path(), operation: "map", source: other() }),
            (23, Error::Layout { payload: 1, expected: 2 }),
            (24, Error::Record { offset: 0, reason }),
        ];
        for (number, error) in errors {
            let expected = error.to_string();
            let status = guard(|| Err(error.into()));
            assert_eq!(status as i32, number, "{expected}");
            assert_eq!(message(), expected);
        }
        assert_eq!(guard(|| Err(Failure::Argument("path", "is null"))) as i32, 25);
        assert_eq!(message(), "argument `path`: is null");
    }

    #[test]
    fn the_details_of_an_error_are_numbers() {
        let detail = |error: Error| {
            guard(|| Err(error.into()));
            // SAFETY: never null, and no other call is made meanwhile.
            let error = unsafe { &*aether_last_error() };
            (error.os_error, error.lane, error.position, error.value)
        };
        let reason = Corruption::Misaligned { cursor: 1 };
        assert_eq!(detail(Error::Corrupt { lane: 3, position: 64, reason }), (0, 3, 64, 0));
        assert_eq!(detail(Error::Lagged { bytes: 48 }), (0, 0, 0, 48));
        assert_eq!(detail(Error::TooLarge { payload: 2000, max: 1008 }), (0, 0, 0, 1008));
        assert_eq!(detail(Error::Record { offset: 16, reason }), (0, 0, 0, 16));
        let source = io::Error::from_raw_os_error(28);
        assert_eq!(detail(Error::Io { path: "ring".into(), operation: "map", source }), (28, 0, 0, 0));
    }

    #[test]
    fn a_panic_becomes_a_status_and_is_reported_in_words() {
        // Unwinds as a panic does, without the words on stderr.
        let panic = |what: Box<dyn Any + Send>| guard(|| std::panic::resume_unwind(what));
        let statuses = [panic(Box::new("literal")), panic(Box::new(format!("number {}", 7)))];
        assert_eq!(statuses, [aether_status::Internal; 2]);
        assert!(message().ends_with("number 7"), "{}", message());
    }

    #[test]
    fn each_thread_has_its_own_last_error_and_a_success_leaves_it() {
        guard(|| Err(Error::Full.into()));
        let elsewhere = std::thread::spawn(|| (message(), guard(|| Err(Error::Closed.into())), message()));
        let (before, status, after) = elsewhere.join().unwrap();
        assert_eq!((before.as_str(), status), ("", aether_status::Closed));
        assert_eq!(after, Error::Closed.to_string());
        assert_eq!(guard(|| Ok(())), aether_status::Ok);
        assert_eq!(message(), Error::Full.to_string());
    }
}
