//! burn-train's dashboard, with a Ctrl-C that stops training.
//!
//! The dashboard reads single keys, for which it turns off the terminal's signals, Ctrl-C included, and it does not
//! handle that key itself. This module turns Ctrl-C's signal on again.

use burn_train::Interrupter;
use burn_train::renderer::MetricsRenderer;
use burn_train::renderer::tui::TuiMetricsRendererWrapper;

/// Opens the dashboard, whose own menu stops training through `interrupter`.
pub(super) fn open(interrupter: Interrupter) -> impl MetricsRenderer {
    let before = terminal::mode();
    let dashboard = TuiMetricsRendererWrapper::new(interrupter, None);
    terminal::let_ctrl_c_through(before);
    dashboard
}

/// Restores the terminal for a process that ends without closing the dashboard. Does nothing if there is none.
pub fn restore_terminal() {
    terminal::restore();
}

#[cfg(unix)]
mod terminal {
    use std::fs::File;
    use std::io::{Write, stdout};
    use std::os::fd::OwnedFd;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use rustix::io::Errno;
    use rustix::stdio::stdin;
    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };

    /// Longest wait for the dashboard's thread to take over the terminal.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Mode of the terminal before the dashboard.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn mode() -> Option<Termios> {
        tcgetattr(stdin()).or_else(|_| tcgetattr(terminal()?)).ok()
    }

    /// The terminal of a process whose standard input is redirected; the dashboard reads keys from it too.
    fn terminal() -> Result<OwnedFd, Errno> {
        let file = File::options().read(true).write(true).open("/dev/tty");
        file.map(Into::into).map_err(|_| Errno::NOTTY)
    }

    fn set(mode: &Termios) -> Result<(), Errno> {
        tcsetattr(stdin(), OptionalActions::Now, mode)
            .or_else(|_| tcsetattr(terminal()?, OptionalActions::Now, mode))
    }

    pub(super) fn let_ctrl_c_through(before: Option<Termios>) {
        let Some(before) = before else { return };
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let Some(mut mode) = mode() else { return };
            if mode.local_modes.contains(LocalModes::ICANON) {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            mode.local_modes |= LocalModes::ISIG;
            // Ctrl-Z and Ctrl-\ stay off, since they would leave the screen in the dashboard's state
            mode.special_codes[SpecialCodeIndex::VSUSP] = 0;
            mode.special_codes[SpecialCodeIndex::VQUIT] = 0;
            if set(&mode).is_ok()
                && let Ok(mut kept) = BEFORE.lock()
            {
                *kept = Some(before);
            }
            return;
        }
    }

    pub(super) fn restore() {
        let before = BEFORE.lock().ok().and_then(|mut kept| kept.take());
        let Some(before) = before else { return };
        // leaves the alternate screen and shows the cursor
        let _ = stdout().write_all(b"\x1b[?1049l\x1b[?25h");
        let _ = stdout().flush();
        let _ = set(&before);
    }
}

#[cfg(not(unix))]
mod terminal {
    pub(super) fn mode() -> Option<()> {
        None
    }

    pub(super) fn let_ctrl_c_through(_before: Option<()>) {}

    pub(super) fn restore() {}
}
