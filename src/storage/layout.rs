//! Where a recording lies under the folder: `yyyy/mm/dd/CALLSID.wav`, `.part` behind it while the call goes on.

use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use std::path::{Path, PathBuf};

/// What stands behind a file's name until it is complete.
pub const PART: &str = ".part";

/// The place of a call's recording. `again` numbers further ones, should the first be out of reach.
#[must_use]
pub fn location(admitted: UnixMillis, sid: &CallSid, again: Option<u32>) -> String {
    let day = jiff::Timestamp::from_millisecond(admitted.0).unwrap_or_default();
    let day = day.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y/%m/%d").to_string();
    // A foreign identifier, and a name of a file.
    let name: String =
        sid.as_str().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    match again {
        None => format!("{day}/{name}.wav"),
        Some(n) => format!("{day}/{name}.{n}.wav"),
    }
}

/// The file at a location; none if the location leads anywhere but into the folder.
#[must_use]
pub fn file(folder: &Path, location: &str) -> Option<PathBuf> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    location.split('/').all(plain).then(|| folder.join(location))
}

/// The same while it is incomplete.
#[must_use]
pub fn part(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(PART);
    PathBuf::from(name)
}

/// Location and call of an incomplete file under the folder.
#[must_use]
pub fn read_part(folder: &Path, part: &Path) -> Option<(String, CallSid)> {
    let inside = part.strip_prefix(folder).ok()?.to_str()?;
    let location = inside.strip_suffix(PART)?;
    file(folder, location)?;
    let (_, name) = location.rsplit_once('/')?;
    let (sid, _) = name.split_once('.')?;
    name.ends_with(".wav").then(|| (location.to_owned(), CallSid::new(sid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_lies_under_the_day_of_its_call() {
        let at = UnixMillis(1_795_000_000_000);
        let sid = CallSid::from("CA0a1b");
        assert_eq!(location(at, &sid, None), "2026/11/18/CA0a1b.wav");
        assert_eq!(location(at, &sid, Some(3)), "2026/11/18/CA0a1b.3.wav");
        let folder = Path::new("data/recordings");
        for again in [None, Some(3)] {
            let place = location(at, &sid, again);
            let path = part(&file(folder, &place).unwrap());
            assert_eq!(read_part(folder, &path), Some((place, sid.clone())));
        }
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = Path::new("/r");
        let sid = CallSid::from("../../etc/passwd");
        let place = location(UnixMillis(0), &sid, None);
        assert_eq!(place, "1970/01/01/______etc_passwd.wav");
        for bad in ["../x.wav", "/etc/passwd", "a//b.wav", "a/./b.wav", "", "a/b\\c.wav", "a/\0.wav"] {
            assert_eq!(file(folder, bad), None, "{bad:?}");
        }
        assert_eq!(read_part(folder, Path::new("/r/x.wav.part")), None);
        assert_eq!(read_part(folder, Path::new("/r/2026/11/22/CA1.wav")), None);
        assert_eq!(read_part(folder, Path::new("/q/2026/11/22/CA1.wav.part")), None);
    }
}
