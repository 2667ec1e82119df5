"""The state of lines that are under way, and when one is tried again.

    leased_slices  slices that are held under a lease, and their lines
    line_history  what one line went through: its attempts, losses and refusals
    line_rules    which lines are bad by themselves, of batches in which those fail alone
    retrying      when a line is sent again; `budget`: how many retries its batch may afford
    pending_loss  a line was lost: did its server die, or the connection?
    quarantine    which lines are sent apart, because servers died of them; `isolated_attempts` does it
    opinions      a refusal counts when two backends agree on it; `refusals` carries that out
    pause_on_failures  a batch of which most lines fail: told, and paused if its owner wants that

Uses `replies` and `backends`.
"""
