"""From a source to frames: data sets, decoding through ffmpeg, and the frames file that all else reads.

`datasets` obtains sources, `source` opens any of them (`clips` for video files, `images` for folders), `info`
says what they are and what a preparation makes of them, `frames` writes and reads the prepared frames.
"""
