// What to do about the server's errors, and what the page says by itself.

export const problems = {
  remedies: {
    file_download_error: 'Check that the address is public, or drop the zip here instead.',
    file_too_large: 'Make the archive smaller: shorter clips, or FLAC in place of WAV.',
    invalid_archive: 'Make the zip again and drop it here; a folder of files can be dropped too.',
    archive_file_count_below_minimum: 'Put audio files into the zip: wav, mp3, flac, ogg, aac or m4a.',
    audio_duration_too_short: 'Choose a shorter clip length, or bring longer recordings.',
    unsupported_audio_format: 'Convert the clips to wav, mp3, flac, ogg, aac or m4a.',
    internal_server_error: 'The log says more. Run it again; if it fails again, please report it with the log.',
    generation_timeout: 'Choose fewer steps, or raise the server’s limit for a run.',
    request_timeout: 'It waited too long in the queue. Run it again when the machine is free.',
    runner_disconnected: 'The process of the run vanished several times, often for lack of memory. Try a smaller rank.',
    client_cancelled: 'What had been made until then is kept below.',
    offline: 'Is soundlora serve still running? The page goes on by itself when the server is back.',
    unauthorized: 'Enter a key in Settings.',
  },
  notRight: 'This is not right.',
  answered: (status: number) => `The server answered with ${status}.`,
  offline: 'The server can’t be reached.',
}
