"""Where files go. Each place knows three things: how to bring the bytes near without any effect, how to give them their
effect once, and how to see that they were taken.

`target` the words that they share; `folder` a drop folder or a mounted share; `webhook` a signed call over HTTPS;
`sftp` a folder on another machine; `s3` a bucket; `email` a letter with the file attached.
"""
