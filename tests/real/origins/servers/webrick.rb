# WEBrick. Arguments: the port, the folder.
require 'webrick'
quiet = WEBrick::Log.new(File::NULL)
WEBrick::HTTPServer.new(BindAddress: '127.0.0.1', Port: ARGV[0].to_i, DocumentRoot: ARGV[1], Logger: quiet, AccessLog: []).start
