//! Can the file of the access log be written?

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::Check;
use crate::config::file::AccessLog;

impl Check<'_> {
    /// Where the access log goes. Whoever starts with a file that cannot be written would learn of it only then.
    pub(super) fn access_log_file(&mut self) -> Option<PathBuf> {
        let telemetry = &self.reading.file.telemetry;
        let word = telemetry.access_log_file.as_ref()?;
        let path = self.path(&word.0);
        if *telemetry.access_log != AccessLog::Off
            && let Err(fault) = writable(&path)
        {
            let help = "write the path of a file that Larder may write, in a folder that is there; a relative one \
                        begins at this file's folder";
            self.error(word.span.as_ref(), fault, help);
        }
        Some(path)
    }
}

/// Whether the file can be appended to or made, without making it; what is wrong otherwise.
fn writable(path: &Path) -> Result<(), String> {
    let unwritable = |error: &io::Error| format!("{} cannot be written: {error}", path.display());
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(format!("{} is a folder", path.display())),
        Ok(there) if there.is_file() => {
            OpenOptions::new().append(true).open(path).map(drop).map_err(|error| unwritable(&error))
        }
        // A device or a pipe: to open a pipe that nobody reads would wait for a reader.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() {
                return Err(format!("the folder {} does not exist", folder.display()));
            }
            takes_files(folder).map_err(|error| unwritable(&error))
        }
        Err(error) => Err(unwritable(&error)),
    }
}

/// Whether a file can be made in the folder. Its name is never the log's: a node that runs may make that one at this
/// moment, and would go on writing into a file that has been removed.
fn takes_files(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".larder-check-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => fs::remove_file(&probe),
        // Another check of this process is at it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_appended_to_is_writable() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old.log"), "a line\n").unwrap();
        let cases = [
            // path            fault                    why
            ("old.log", None, "a file that is there"),
            ("new.log", None, "a file that can be made"),
            ("/dev/null", None, "a device"),
            ("none/new.log", Some("does not exist"), "no folder"),
            (".", Some("is a folder"), "a folder itself"),
            ("old.log/new.log", Some("cannot be written"), "a file in place of the folder"),
            ("/proc/larder.log", Some("cannot be written"), "a folder that takes no files, not even root's"),
        ];
        for (path, fault, why) in cases {
            let got = writable(&folder.path().join(path)).err();
            let fits = fault.map_or(got.is_none(), |words| got.as_ref().is_some_and(|got| got.contains(words)));
            assert!(fits, "{path}: {why}: {got:?}");
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["old.log"], "a check leaves nothing behind");
        assert_eq!(fs::read_to_string(folder.path().join("old.log")).unwrap(), "a line\n", "nor does it write");
    }
}
